"""The table of all options of all commands: one name and one meaning for each."""

from __future__ import annotations

import re
import runpy
from collections import defaultdict
from pathlib import Path

import pytest

from fer_edge.cli.help_pages import wrap_command
from fer_edge.cli.main import COMMANDS, command_function
from fer_edge.cli.parameters import Parameter, parameters_of
from tests.command import fer_edge

REFERENCE = Path(__file__).parents[2] / "docs" / "cli_reference.py"

# Options that mean the same in different words: the first words of each help, and why they are one option.
ALLOWED = {
    # The output of the command. Its help names the kind of file.
    "--out": {
        "Bundle to write", "Checkpoint to write", "Text features to write", "Activation ranges to write", "Folder",
        "Model repository",
    },
    # The engine of the work. Builders create it, the others choose it from a bundle.
    "--engine": {"Engine to build", "Engine of the bundle", "Engine to measure accuracy on"},
    # Settings as KEY=VALUE. The keys are those of the recipe in question.
    "--set": {"Build setting", "Recipe setting"},
    "--recipe": {"Build recipe", "Shipped training recipe"},
    # A length of time. `bench` measures at least that long, `live` ends after it.
    "--seconds": {"Minimum length of each measurement in seconds", "Length in seconds"},
    # A port to listen on. Pages are served to this machine only.
    "--port": {"Port of the page on the loopback address", "Port of the server"},
    # A number of images. `calibrate` chooses them by class, the others evenly.
    "--count": {"Number of images to use", "Number of images to choose"},
}  # fmt: skip
# The description of a value begins with a noun, which none of these is.
NO_NOUN = re.compile(
    r"(?:A|An|The|What|Which|How|Whether|Of|If|With|Where|May|To|Give|Use|Write|Read|Take|Run|Show|Find|Compute|Import"
    r"|Accept|Skip|Print|Store|Replace|List|Compile|Choose|Start)\b"
)


def table() -> dict[str, dict[tuple[str, str], list[str]]]:
    """Return the commands of each option by placeholder and help."""
    meanings: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for command in COMMANDS:
        for parameter in parameters_of(command_function(command)):
            for name in parameter.options:
                if name != "-o":
                    meanings[name][parameter.placeholder, parameter.help].append(command)
    return meanings


def meaning(text: str) -> str:
    """Return a help text without its default, which may differ between commands."""
    return re.split(r"; default:| Default:|\.$", text)[0]


def is_one_meaning(option: str, meanings: dict[tuple[str, str], list[str]]) -> bool:
    """Return True if all placeholders are equal, and all texts begin with the shortest of them."""
    texts = sorted((meaning(text) for _, text in meanings), key=len)
    starts = ALLOWED.get(option, {texts[0]})
    return len({placeholder for placeholder, _ in meanings} - {"DIR"}) <= 1 and all(
        any(text.startswith(start) for start in starts) for text in texts
    )


def test_option_has_one_meaning() -> None:
    clashes = [
        f"{option} {placeholder}: {text} ({', '.join(commands)})"
        for option, meanings in sorted(table().items())
        if not is_one_meaning(option, meanings)
        for (placeholder, text), commands in meanings.items()
    ]
    assert not clashes, "\n" + "\n".join(clashes)


def test_second_meaning_is_a_clash() -> None:
    assert is_one_meaning("--seed", {("N", "Seed; default: 0."): [], ("N", "Seed. Default: 1."): []})
    assert is_one_meaning("--labels", {("NAME", "Label set."): [], ("NAME", "Label set of the model."): []})
    assert not is_one_meaning("--seed", {("N", "Seed."): [], ("N", "Number of runs."): []})
    assert not is_one_meaning("--images", {("N", "Images."): [], ("TEXT", "Images."): []})
    assert not is_one_meaning("--count", {("N", "Number of images to use."): [], ("N", "Number of runs."): []})


def test_count_of_parity_has_its_own_default() -> None:
    (text,) = [text for (_, text), commands in table()["--count"].items() if "parity" in commands]
    assert text == "Number of images to use, evenly spread over the data set; default: 256, or 16 with --per-tensor."


def test_allowed_differences_are_used() -> None:
    meanings = table()
    for option, starts in ALLOWED.items():
        texts = [text for _, text in meanings[option]]
        assert len(texts) > 1, option
        for start in starts:
            assert any(text.startswith(start) for text in texts), (option, start)


@pytest.mark.parametrize("command", COMMANDS)
def test_parameter_has_a_description(command: str) -> None:
    for parameter in parameters_of(command_function(command)):
        text = parameter.help
        assert text[:1].isupper() or text.startswith(("face.evoLVe", "open_clip")), (parameter.label, text)
        assert text.endswith("."), (parameter.label, text)
        is_flag = not parameter.placeholder
        assert is_flag or not NO_NOUN.match(text), (parameter.label, text)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_parameter_in_80_columns(command: str) -> None:
    result = fer_edge(*command.split(), "--help")
    assert result.returncode == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    for parameter in parameters_of(command_function(command)):
        assert parameter.signature in result.stdout
        assert all(choice in result.stdout for choice in parameter.choices)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_its_help_line_and_an_example(command: str) -> None:
    docstring = command_function(command).__doc__
    assert docstring.splitlines()[0] == COMMANDS[command]
    assert f"Example: fer-edge {command}" in docstring


@pytest.mark.parametrize("command", COMMANDS)
def test_option_is_named_after_its_parameter(command: str) -> None:
    """A test of the Python API would otherwise need another name than the command line."""
    plural = {"engine": "engines", "all": "every"}
    for parameter in parameters_of(command_function(command)):
        if not parameter.options:
            continue
        name = parameter.label.removeprefix("--").replace("-", "_")
        names = {name, f"{name}s", plural.get(name, name), name.replace("set", "settings")}
        assert parameter.name in names, (command, parameter.label, parameter.name)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("checkpoint", "--help"), ("bundle", "--help")])
def test_group_help_fits_80_columns(arguments: tuple[str, ...]) -> None:
    result = fer_edge(*arguments)
    text = result.stdout + result.stderr
    assert max(map(len, text.splitlines())) <= 80
    assert "Options:" in text


def test_default_limit_and_choices_are_described_once() -> None:
    def parameter(**changes: object) -> Parameter:
        fields: dict[str, object] = {
            "name": "x", "options": ("--x",), "placeholder": "N", "choices": (), "help": "Number of things.",
            "panel": "Options", "required": False, "repeatable": False, "default": None, "least": None,
        }  # fmt: skip
        return Parameter(**{**fields, **changes})  # type: ignore[arg-type]

    assert parameter().description == "Number of things."
    assert parameter(default=3).description == "Number of things; default: 3."
    assert parameter(default=3, help="Number. Of things.").description == "Number. Of things. Default: 3."
    assert parameter(default=3, help="Number; default: three.").description == "Number; default: three."
    assert parameter(required=True).description == "Number of things; required."
    assert parameter(least=2).description == "Number of things. At least 2."
    assert parameter(choices=("a", "b"), placeholder="NAME").description == "Number of things. One of: a, b."
    assert parameter(choices=("a", "b"), placeholder="a|b").description == "Number of things."
    assert parameter(options=("--out", "-o")).signature == "-o, --out N"
    assert parameter(options=(), repeatable=True, placeholder="IMAGES").signature == "IMAGES..."


def test_long_example_breaks_before_an_option() -> None:
    command = "fer-edge calibrate edge.safetensors ferplus/ -o edge.ranges.json --count 512 --max-drop 0.3"
    assert wrap_command(command) == (
        "fer-edge calibrate edge.safetensors ferplus/ -o edge.ranges.json \\\n    --count 512 --max-drop 0.3"
    )
    assert wrap_command("fer-edge doctor") == "fer-edge doctor"


def test_reference_has_every_command_and_option() -> None:
    text = runpy.run_path(str(REFERENCE))["reference"]()
    for command in COMMANDS:
        assert f" fer-edge {command}\n" in text
        for parameter in parameters_of(command_function(command)):
            assert f"`{parameter.signature}`" in text.replace("\\|", "|")
    assert all(line.count("|") - line.count("\\|") == 3 for line in text.splitlines() if line.startswith("|"))
