"""Entry point of the `fer-edge` command: signals, standard streams, and one line for every error.

Only the standard library is imported before the signal handlers are installed, so that an interrupt during the import
of NumPy, Typer or an engine ends like any other interrupt.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType

TRACEBACK = "FER_EDGE_TRACEBACK"  # environment variable; "1" prints the traceback of every error on stderr
INTERRUPTED = 128 + signal.SIGINT
SPINS = "3000"  # for GOMP_SPINCOUNT: some microseconds
_received = [int(signal.SIGINT)]  # terminating signals, the latest last
# These end a command like Ctrl-C: partly written files are removed, finished work is saved.
_TERMINATING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# Errors of a full disk, a quota or a closed output, without a file name.
_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def main() -> None:
    """Run the command in `sys.argv` and exit: 0 success, 1 failure, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM.

    Wrong usage is an error in the command line or a recipe that does not depend on other files or on the machine. A
    command may raise `KeyboardInterrupt("stopped: ...")` to report finished work; the default message is "stopped".
    """
    code = 1
    try:
        _install_handlers()
        _open_streams()
        _limit_spinning()
        code = run_command()
    except KeyboardInterrupt as interrupt:
        code = _report_interrupt(interrupt)
    finally:
        signal.signal(signal.SIGINT, _exit_at_once)  # no traceback from the interpreter's own shutdown
    raise SystemExit(code)


def run_command() -> int:
    """Run the command in `sys.argv`, print its errors, and return its exit code."""
    try:
        if sys.stdout is None:
            _print_error("stdout is closed: nowhere to write the result; redirect it to a file or to /dev/null")
            return 1
        from fer_edge.cli.main import run

        try:
            return run(sys.argv[1:])
        finally:
            if sys.stdout is not None:  # the interpreter flushes too, but prints a traceback if that fails
                sys.stdout.flush()
    except BrokenPipeError:
        _print_traceback()
        _drop_output()  # the reader of the pipe has exited
        return 1
    except Exception as error:
        return _report_error(error)


def _report_error(error: Exception) -> int:
    """Print an error of a command on one line, and return the exit code."""
    from fer_edge._text import one_line
    from fer_edge.errors import ConfigError, FerEdgeError

    _print_traceback()
    if isinstance(error, FerEdgeError):
        _print_error(error)
        return 2 if isinstance(error, ConfigError) else 1
    if isinstance(error, MemoryError):
        _print_error("out of memory; close other programs, or use smaller or fewer images at once")
        return 1
    if isinstance(error, OSError):
        if error.errno in _OUTPUT_ERRORS and error.filename is None:
            _drop_output()
            _print_error(f"cannot write the output: {error.strerror}")
        else:
            place = "" if error.filename is None else f" to {_file_name(error.filename)}"
            _print_error(f"the system refused access{place}: {error.strerror or one_line(str(error))}")
        return 1
    message = one_line(f"{type(error).__name__}: {error}")
    _print_error(
        f"internal error: {message}; this is a bug, please report it with the output of fer-edge --traceback ..."
    )
    return 1


def _file_name(file: object) -> str:
    """Return the file of an OSError, which is a path, bytes or a descriptor, as text."""
    return os.fsdecode(file) if isinstance(file, (str, bytes, os.PathLike)) else str(file)


def _report_interrupt(interrupt: KeyboardInterrupt) -> int:
    """Print the message of an interrupt, and return the exit code of its signal."""
    _print_traceback()
    _print_line(str(interrupt) or "stopped")
    return 128 + _received[-1]


def _install_handlers() -> None:
    """Raise KeyboardInterrupt at terminating signals, unless they are ignored, as under `nohup`."""
    for number in _TERMINATING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)
    sys.unraisablehook = _handle_unraisable


def _terminate(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _handle_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Raise an interrupt again that arrived where Python cannot raise it, such as in a destructor."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    elif os.environ.get(TRACEBACK):
        sys.__unraisablehook__(unraisable)


def _limit_spinning() -> None:
    """Limit how long a thread of PyTorch that waits for another one occupies its core, unless the environment sets it.

    With the default of GNU OpenMP, about a millisecond, a training on two cores took up to 28 times as long beside
    other work; on an idle machine, the limit costs nothing. The variable is read when PyTorch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _open_streams() -> None:
    """Open closed standard descriptors on the null device, so that no other file gets their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        # print(file=None) would write errors to stdout.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # for characters of file names that the output cannot encode


def _drop_output() -> None:
    # Closing stdout again at exit would print a traceback.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(message: object) -> None:
    _print_line(f"error: {message}")


def _print_line(line: str) -> None:
    from fer_edge.cli.output import print_note

    print_note(line)


def _print_traceback() -> None:
    if os.environ.get(TRACEBACK):
        import traceback

        traceback.print_exc()
