"""The command at its edges: interrupts at any moment, closed streams, wrong usage, errors that nobody expected."""

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
    """Run the command; `shell` is a redirection, `>&-` for one."""
    words = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        ["sh", "-c", f"exec {shlex.join(words)} {shell}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def replaced(body: str) -> list[str]:
    """A command line whose `doctor` does something else."""
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
def test_an_interrupt_during_an_import_ends_without_a_traceback(
    tmp_path: Path, module: str, arguments: list[object]
) -> None:
    (tmp_path / f"{module}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    found = fer_edge(*arguments, PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[2]}")
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "stopped\n")


@POSIX
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: str(value),
)
def test_a_signal_ends_a_command_and_removes_what_is_half_written(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    body = (
        "import time; from pathlib import Path; from fer_edge._files import atomic_path\n"
        f"    with atomic_path(Path({str(tmp_path / 'out.fer')!r})) as path:\n"
        "        print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(replaced(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    stderr = process.communicate(timeout=60)[1]
    assert (process.returncode, stderr) == (code, "stopped\n")
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_a_command_may_say_what_it_did_before_it_was_stopped() -> None:
    found = subprocess.run(
        replaced("raise KeyboardInterrupt('stopped: 5 of 9 images done')"), capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (130, "stopped: 5 of 9 images done\n")


@POSIX
def test_an_ignored_signal_stays_ignored() -> None:
    body = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    code = (
        "import signal, subprocess, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        f"sys.exit(subprocess.call({replaced(body)!r}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "alive\n")


@POSIX
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["doctor", "--json"], ["predict", "nothere.png"]])
def test_a_closed_stdout_is_an_error_before_any_work(arguments: list[str]) -> None:
    found = fer_edge(*arguments, shell=">&-")
    assert found.returncode == 1
    assert found.stderr == (
        "error: stdout is closed: nowhere to write the result; redirect it to a file or to /dev/null\n"
    )


@POSIX
@pytest.mark.parametrize("shell", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_errors_never_reach_stdout(shell: str) -> None:
    for arguments in (["predict", "nothere.png"], ["nonsense"], ["predict", "--box"]):
        found = fer_edge(*arguments, shell=shell)
        assert found.returncode in (1, 2) and found.stdout == ""
    assert fer_edge("--version", shell=shell).stdout.startswith("fer-edge 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predct"], "No such command 'predct'; did you mean predict? (usage: fer-edge --help)"),
        (["Predict"], "No such command 'Predict'; did you mean predict? (usage: fer-edge --help)"),
        (["predict"], "Missing argument 'images' (usage: fer-edge predict --help)"),
        (["evaluate", "a", "b", "--limt", "3"], "--limit"),
        (["predict", "a", "--engine", "openvin"], "no engine 'openvin'; expected one of: openvino, onnxruntime,"),
        (["predict", "a", "--engine", "openVINO"], "did you mean openvino? (usage: fer-edge predict --help)"),
        (["predict", "a", "--box", "\x1b]0;hi\x07\nerror: x,1"], r"'\x1b]0;hi\x07\nerror: x,1' is no box"),
        (["x\x1b[2K\nerror: forged"], r"No such command 'x\x1b[2K\nerror: forged'"),
        (["evaluate", "edge", ".", "--split", "val"], "no split 'val'; expected one of: train, valid, test;"),
        (["evaluate", "edge", ".", "--layout", "fer+"], "no layout 'fer+'; expected one of: auto, ferplus,"),
        (["build-engine", "edge", "--precision", "int4"], "no precision 'int4'; expected one of: fp32, fp16, int8"),
        (["build-engine", "--recipe", "rtx-fp61"], "no recipe at rtx-fp61; expected a file, or one that is shipped:"),
        (["build-engine", "edgy"], "no checkpoint at edgy; expected a file, or one that is shipped: edge"),
        (
            ["text-features", "-o", "x.safetensors", "--labels", "ferpls"],
            "no label set 'ferpls'; expected one of: rafdb, ferplus,",
        ),
        (["text-features", "-o", "x.safetensors", "--template", "smile"], "prompt template 'smile' has no {}"),
        (["calibrate", "edge", ".", "-o", "x", "--method", "mxx"], "no method 'mxx'; expected one of: minmax,"),
        (["parity", "edge", "--checkpoint", "edge", "--images", ".", "--threshold", "nan"], "not a finite number"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_that_names_what_was_meant(arguments: list[str], message: str) -> None:
    code = (
        "import sys\nfrom fer_edge.cli.entry import main\ntry:\n    main()\n"
        "finally:\n    assert not {'torch', 'onnx', 'openvino'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    lines = found.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), found.stderr
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
def test_no_error_shows_a_traceback_unless_asked(body: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FER_EDGE_TRACEBACK", raising=False)
    found = subprocess.run(replaced(body), capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1 and message in found.stderr
    monkeypatch.setenv("FER_EDGE_TRACEBACK", "1")
    found = subprocess.run(replaced(body), capture_output=True, text=True, check=False)
    assert found.stderr.startswith("Traceback") and message in found.stderr.splitlines()[-1]


def test_messages_of_libraries_are_one_line_each() -> None:
    body = (
        "import logging, warnings; warnings.warn('first\\nsecond\\x1b[2K', stacklevel=1); "
        "logging.getLogger('fer_edge').warning('%s does not run', 'a\\x1b]0;x\\x07.fer')"
    )
    found = subprocess.run(replaced(body), capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (
        0,
        "warning: first second\nwarning: a\\x1b]0;x\\x07.fer does not run\n",
    )


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys, fer_edge; assert 'numpy' not in sys.modules; assert fer_edge.errors.FerEdgeError; "
        "from fer_edge import *; assert Recognizer and Bundle and 'Recognizer' in dir(fer_edge)"
    )
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_a_shell_completes_commands_and_options() -> None:
    for words, position, expected in (
        ("fer-edge bench-", 1, "bench-compare"),
        ("fer-edge evaluate --rep", 2, "--report"),
    ):
        found = fer_edge(_FER_EDGE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(position))
        assert (found.returncode, found.stdout.split(), found.stderr) == (0, [expected], "")
