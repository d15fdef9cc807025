"""Entry of the `fer-edge` command: signals, standard streams, and one line for every error.

Nothing but the standard library is imported before the handlers are in place, so an interrupt during the imports of
NumPy, Typer or an engine ends like any other.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType

TRACEBACK = "FER_EDGE_TRACEBACK"  # environment variable; "1": tracebacks of all errors on stderr
INTERRUPTED = 128 + signal.SIGINT
_received = [int(signal.SIGINT)]  # signals that asked for the end, the latest last
# Signals that end a command as Ctrl-C does: files being written are removed, work that can be kept is kept.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# Errors of a full disk, a quota or a closed output, which carry no file name.
_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def main() -> None:
    """Run the command in `sys.argv` and exit: 0 done, 1 failed, 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM.

    Usage is what the command line and recipes say: what cannot be right whatever the files and the machine are.
    A command may raise `KeyboardInterrupt("stopped: ...")` to say what was done; "stopped" is printed otherwise.
    """
    code = 1
    try:
        _catch_signals()
        _open_streams()
        code = run_command()
    except KeyboardInterrupt as stop:
        code = _stopped(stop)
    finally:
        signal.signal(signal.SIGINT, _leave)  # a traceback of the interpreter's own shutdown helps nobody
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
            if sys.stdout is not None:  # the interpreter flushes too, but its error would be a traceback
                sys.stdout.flush()
    except BrokenPipeError:
        _show_traceback()
        _drop_output()  # the reader of the pipe has gone
        return 1
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    """Print an error of a command on one line; its exit code."""
    from fer_edge._text import one_line
    from fer_edge.errors import ConfigError, FerEdgeError

    _show_traceback()
    if isinstance(error, FerEdgeError):
        _print_error(error)
        return 2 if isinstance(error, ConfigError) else 1
    if isinstance(error, MemoryError):
        _print_error("out of memory; close other programs, use smaller images, or fewer at once")
        return 1
    if isinstance(error, OSError):
        if error.errno in _OUTPUT_ERRORS and error.filename is None:
            _drop_output()
            _print_error(f"cannot write the output: {error.strerror}")
        else:
            place = "" if error.filename is None else f" to {_name(error.filename)}"
            _print_error(f"the system refused access{place}: {error.strerror or one_line(str(error))}")
        return 1
    told = one_line(f"{type(error).__name__}: {error}")
    _print_error(f"internal error: {told}; this is a bug, please report it with what fer-edge --traceback ... prints")
    return 1


def _name(file: object) -> str:
    """A file of an OSError, which may be a path, bytes or a descriptor."""
    return os.fsdecode(file) if isinstance(file, (str, bytes, os.PathLike)) else str(file)


def _stopped(stop: KeyboardInterrupt) -> int:
    _show_traceback()
    _print(str(stop) or "stopped")
    return 128 + _received[-1]


def _catch_signals() -> None:
    """Turn ending signals into exceptions in the main thread, unless they are ignored as under `nohup`."""
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)
    sys.unraisablehook = _in_callback


def _terminate(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _in_callback(unraisable: sys.UnraisableHookArgs) -> None:
    """Take an exception that Python cannot pass on, out of a destructor for one: an interrupt is raised again."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    elif os.environ.get(TRACEBACK):
        sys.__unraisablehook__(unraisable)


def _open_streams() -> None:
    """Give closed descriptors and streams a substitute, or the next file that is opened would be taken for them."""
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
        reconfigure(errors="backslashreplace")  # file names may hold what the output cannot, as on stderr


def _drop_output() -> None:
    # Closing stdout again at exit would print a traceback.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(message: object) -> None:
    _print(f"error: {message}")


def _print(line: str) -> None:
    from fer_edge.cli.output import print_note

    print_note(line)


def _show_traceback() -> None:
    if os.environ.get(TRACEBACK):
        import traceback

        traceback.print_exc()
