"""Wrong usage, choices and completion, before anything large is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.cli.main import COMMANDS, GROUPS, command_function
from fer_edge.cli.parameters import parameters_of
from tests.command import fer_edge

LARGE = ["numpy", "PIL", "torch", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "safetensors"]
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({LARGE}))\n"


def without_large_imports(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def complete(words: str) -> subprocess.CompletedProcess[str]:
    """Complete the last word of a command line, as Bash requests it."""
    position = str(len(words.split(" ")) - 1)
    return without_large_imports(
        "from fer_edge.cli.entry import main; sys.argv = ['fer-edge']; main()",
        _FER_EDGE_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=position,
    )


def options_with_choices() -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (command, parameter.label, parameter.choices)
        for command in COMMANDS
        for parameter in parameters_of(command_function(command))
        if parameter.choices
    ]


def test_wrong_choices_are_refused_before_large_imports() -> None:
    lines = [[*command.split(), *_arguments(command), option, "wrong"] for command, option, _ in options_with_choices()]
    code = (
        "import contextlib, io, json\nfrom fer_edge.cli import entry\n"
        f"for line in {lines!r}:\n"
        "    sys.argv = ['fer-edge', *line]\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as stderr:\n"
        "        code = entry.run_command()\n"
        "    print(json.dumps([code, stderr.getvalue()]))\n"
    )
    result = without_large_imports(code)
    assert result.returncode == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) > 20
    for (command, option, choices), (code_, message) in zip(options_with_choices(), answers, strict=True):
        assert code_ == 2, (command, option, message)
        expected = f"error: {option}: 'wrong' is not a choice; expected one of: {', '.join(choices)}"
        assert message.startswith(expected), message
        assert message.endswith(f"(usage: fer-edge {command} --help)\n") and message.count("\n") == 1


def _arguments(command: str) -> list[str]:
    """Return values of the required arguments and options without choices; the shipped model has no large imports."""
    words: list[str] = []
    for parameter in parameters_of(command_function(command)):
        if parameter.required and not parameter.choices:
            words += [parameter.label, "x"] if parameter.options else ["edge"]
    return words


def test_wrong_choice_has_the_nearest_one() -> None:
    message = fer_edge("bench", "edge", "--scenario", "batch").stderr
    assert "error: --scenario: 'batch' is not a choice; expected one of: batches, cold-start," in message
    assert "all; did you mean batches? (usage: fer-edge bench --help)" in message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["prdict"], "predict"),
        (["Predict"], "predict"),
        (["add-engine", "x.fer"], "bundle add-engine"),
        (["export-triton"], "bundle export-triton"),
        (["text-features"], "checkpoint text-features"),
        (["fit-temperature"], "checkpoint fit-temperature"),
        (["checkpoint", "improt"], "checkpoint import"),
        (["checkpoint", "add-engine"], "bundle add-engine"),
        (["bundel"], "bundle"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unknown_command_has_the_nearest_one(words: list[str], expected: str) -> None:
    result = fer_edge(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"; did you mean {expected}? (usage: fer-edge" in result.stderr


def test_name_that_resembles_nothing_has_no_hint() -> None:
    assert fer_edge("qqqqqqqq").stderr == "error: no command 'qqqqqqqq' (usage: fer-edge --help)\n"


@pytest.mark.parametrize("arguments", [["--help"], *([group, "--help"] for group in GROUPS)], ids=" ".join)
def test_group_help_imports_no_command(arguments: list[str]) -> None:
    code = (
        f"sys.argv = ['fer-edge', *{arguments!r}]\nfrom fer_edge.cli.entry import main\n"
        "from fer_edge.cli.main import COMMANDS, module_name\n"
        "try:\n    main()\nfinally:\n    assert not {*map(module_name, COMMANDS)} & {*sys.modules}\n"
    )
    result = without_large_imports(code)
    assert result.returncode == 0, result.stderr
    listed = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ") and line.strip()]
    if arguments == ["--help"]:
        assert {command.split()[0] for command in COMMANDS} <= set(listed)
        assert all(f"{title}:" in result.stdout for title in ("Make a model", "Make a bundle", "Measure and inspect"))
    else:
        names = {command.split()[1] for command in COMMANDS if command.startswith(f"{arguments[0]} ")}
        assert names and names <= set(listed)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fer-edge comp", ["compare"]),
        ("fer-edge checkpoint im", ["import"]),
        ("fer-edge bundle add", ["add-engine"]),
        ("fer-edge predict --max", ["--max-pixels"]),
        ("fer-edge bench --scenario sing", ["single-stream"]),
        ("fer-edge predict --engine tensorrt-", ["tensorrt-rtx"]),
        ("fer-edge evaluate edge . --split va", ["valid"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_shell_completion(words: str, expected: list[str]) -> None:
    result = complete(words)
    assert (result.returncode, result.stdout.split(), result.stderr) == (0, expected, "")


def test_completion_can_be_shown_and_installed(tmp_path: Path) -> None:
    for option, output in (("--show-completion", "_FER_EDGE_COMPLETE=complete_bash"), ("--install-completion", "bash")):
        result = without_large_imports(
            f"from fer_edge.cli.entry import main; sys.argv = ['fer-edge', {option!r}, 'bash']; main()",
            _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",  # the shell is then a value
            HOME=str(tmp_path),
        )
        assert result.returncode == 0 and output in result.stdout, result.stderr
    assert "fer-edge" in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict"], "missing IMAGES: image files or folders; `-` is standard input (usage: fer-edge predict --help)"),
        (["predict", "a", "--top", "x"], "--top: 'x' is not a whole number from 1 (usage: fer-edge predict --help)"),
        (["predict", "a", "--top", "0"], "--top: '0' is not a whole number from 1 (usage: fer-edge predict --help)"),
        (["predict", "a", "--max-pixel", "9"], "no option --max-pixel; did you mean --max-pixels?"),
        (["predict", "a", "--engine"], "option '--engine' requires an argument (usage: fer-edge predict --help)"),
        (["predict", "a", "--bundle", "edgy"], "--bundle: no bundle at edgy; expected a file"),
        (["predict", "a", "--box", "1,2"], "--box: '1,2' is not a box; expected X,Y,W,H in pixels (usage"),
        (["doctor", "x"], "got unexpected extra argument"),
        (["--vrsion"], "no option --vrsion; did you mean --version? (usage: fer-edge --help)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_message_names_the_option(arguments: list[str], message: str) -> None:
    result = fer_edge(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {message}") and len(result.stderr.splitlines()) == 1
