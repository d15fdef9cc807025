"""The command line at its limits: interrupts, closed streams, wrong usage, unexpected errors."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHECKPOINT = Path(__file__).parents[2] / "fer_edge" / "weights" / "edge.safetensors"
COMMAND = [sys.executable, "-m", "fer_edge"]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and descriptors of POSIX")


def fer_edge(*arguments: object, shell: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; `shell` is a redirection such as `>&-`."""
    words = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        ["sh", "-c", f"exec {shlex.join(words)} {shell}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def with_doctor(body: str) -> list[str]:
    """Return a command line whose `doctor` runs other code."""
    code = (
        f"import sys; sys.argv = ['fer-edge', 'doctor']\nimport fer_edge.cli.doctor\n"
        f"def doctor() -> None:\n    '''Other.'''\n    {body}\n"
        "fer_edge.cli.doctor.doctor = doctor\nfrom fer_edge.cli.entry import main\nmain()"
    )
    return [sys.executable, "-c", code]


@POSIX
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("numpy", ["predict", __file__]),
        ("typer", ["--version"]),
        ("rich", ["doctor"]),
        ("openvino", ["predict", __file__]),
        ("torch", ["inspect", CHECKPOINT]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_interrupt_during_an_import_prints_no_traceback(tmp_path: Path, module: str, arguments: list[object]) -> None:
    (tmp_path / f"{module}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    result = fer_edge(*arguments, PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[2]}")
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "stopped\n")


@POSIX
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: str(value),
)
def test_signal_removes_partly_written_files(tmp_path: Path, number: signal.Signals, code: int) -> None:
    body = (
        "import time; from pathlib import Path; from fer_edge._files import atomic_path\n"
        f"    with atomic_path(Path({str(tmp_path / 'out.fer')!r})) as path:\n"
        "        print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(with_doctor(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    stderr = process.communicate(timeout=60)[1]
    assert (process.returncode, stderr) == (code, "stopped\n")
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_command_may_report_its_progress_when_stopped() -> None:
    command = with_doctor("raise KeyboardInterrupt('stopped: 5 of 9 images done')")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (130, "stopped: 5 of 9 images done\n")


@POSIX
def test_ignored_signal_stays_ignored() -> None:
    body = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    code = (
        "import signal, subprocess, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        f"sys.exit(subprocess.call({with_doctor(body)!r}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "alive\n")


@pytest.mark.parametrize(
    ("environment", "spins"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_waiting_threads_release_their_core_by_default(environment: dict[str, str], spins: str | None) -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    result = subprocess.run(
        with_doctor("import os; print(os.environ.get('GOMP_SPINCOUNT'))"),
        capture_output=True,
        text=True,
        check=False,
        env=inherited | environment,
    )
    assert (result.returncode, result.stdout) == (0, f"{spins}\n")


@POSIX
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["doctor", "--json"], ["predict", "nothere.png"]])
def test_closed_stdout_is_an_error_before_any_work(arguments: list[str]) -> None:
    result = fer_edge(*arguments, shell=">&-")
    assert result.returncode == 1
    assert result.stderr == (
        "error: stdout is closed: nowhere to write the result; redirect it to a file or to /dev/null\n"
    )


@POSIX
@pytest.mark.parametrize("shell", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_errors_never_reach_stdout(shell: str) -> None:
    for arguments in (["predict", "nothere.png"], ["nonsense"], ["predict", "--box"]):
        result = fer_edge(*arguments, shell=shell)
        assert result.returncode in (1, 2) and result.stdout == ""
    assert fer_edge("--version", shell=shell).stdout.startswith("fer-edge 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "a", "--engine", "openvin"], "--engine: 'openvin' is not a choice; expected one of: openvino,"),
        (["predict", "a", "--engine", "openVINO"], "did you mean openvino? (usage: fer-edge predict --help)"),
        (["predict", "a", "--box", "\x1b]0;hi\x07\nerror: x,1"], r"'\x1b]0;hi\x07\nerror: x,1' is not a box"),
        (["x\x1b[2K\nerror: forged"], r"no command 'x\x1b[2K\nerror: forged'"),
        (["predict", "a", "--engine", "x\x1b[2K\n"], r"'x\x1b[2K\n' is not a choice"),
        (["predict", "a", "--\x1b[2K"], r"no option --\x1b[2K"),
        (["evaluate", "edge", ".", "--split", "val"], "--split: 'val' is not a choice; expected one of: train, valid,"),
        (["evaluate", "edge", ".", "--layout", "fer+"], "--layout: 'fer+' is not a choice; expected one of: auto,"),
        (
            ["build-engine", "edge", "--precision", "int4"],
            "--precision: 'int4' is not a choice; expected one of: fp32,",
        ),
        (["build-engine", "--recipe", "rtx-fp61"], "no recipe at rtx-fp61; expected a file, or one that is shipped:"),
        (["build-engine", "edgy"], "no checkpoint at edgy; expected a file, or one that is shipped: edge"),
        (
            ["checkpoint", "text-features", "-o", "x.safetensors", "--labels", "ferpls"],
            "--labels: 'ferpls' is not a choice; expected one of: rafdb, ferplus,",
        ),
        (["checkpoint", "text-features", "-o", "x.safetensors", "--template", "smile"], "'smile' has no {}"),
        (["calibrate", "edge", ".", "-o", "x", "--method", "mxx"], "--method: 'mxx' is not a choice"),
        (["parity", "edge", "--checkpoint", "edge", "--images", ".", "--threshold", "nan"], "not a finite number"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(arguments: list[str], message: str) -> None:
    code = (
        "import sys\nfrom fer_edge.cli.entry import main\ntry:\n    main()\n"
        "finally:\n    assert not {'torch', 'onnx', 'openvino'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    assert message in lines[0] and "\x1b" not in lines[0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('bad\\nvalue')", "internal error: ValueError: bad value; this is a bug, please report it"),
        ("raise MemoryError", "out of memory; close other programs"),
        ("doctor = lambda: doctor(); (f := lambda: f())()", "internal error: RecursionError"),
        ("open('/no/such')", "the system refused access to /no/such: No such file or directory"),
    ],
)
def test_traceback_is_shown_on_request_only(body: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FER_EDGE_TRACEBACK", raising=False)
    result = subprocess.run(with_doctor(body), capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and message in result.stderr
    monkeypatch.setenv("FER_EDGE_TRACEBACK", "1")
    result = subprocess.run(with_doctor(body), capture_output=True, text=True, check=False)
    assert result.stderr.startswith("Traceback") and message in result.stderr.splitlines()[-1]


def test_messages_of_libraries_are_one_line_each() -> None:
    body = (
        "import logging, warnings; warnings.warn('first\\nsecond\\x1b[2K', stacklevel=1); "
        "logger = logging.getLogger('fer_edge'); logger.warning('%s does not run', 'a\\x1b]0;x\\x07.fer'); "
        "logger.info('a note'); logger.debug('no note')"
    )
    result = subprocess.run(with_doctor(body), capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (
        0,
        "warning: first second\nwarning: a\\x1b]0;x\\x07.fer does not run\na note\n",
    )


def test_package_import_is_light() -> None:
    code = (
        "import sys, fer_edge; assert 'numpy' not in sys.modules; assert fer_edge.errors.FerEdgeError; "
        "from fer_edge import *; assert Recognizer and Bundle and 'Recognizer' in dir(fer_edge)"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
