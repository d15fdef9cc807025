"""`fer-edge build-engine`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fer_edge.choices import BuildPrecision, FloatPrecision
from fer_edge.cli.option_checks import check_out_file, check_outputs, shipped_path
from fer_edge.cli.options import EnginesToBuild, Json

if TYPE_CHECKING:
    from fer_edge.bundle import EngineEntry

DEFAULTS: dict[str, Any] = {"engines": ["openvino"]}
FILES: tuple[Literal["checkpoint", "ranges"], ...] = ("checkpoint", "ranges")  # relative to the recipe, or shipped


@dataclass(frozen=True)
class BuildRecipe:
    """What a recipe may say, as arguments of `build_bundle`; each may be left out."""

    checkpoint: str
    engines: tuple[str, ...]
    precision: str
    targets: tuple[str, ...]
    max_batch: int
    ranges: str
    float_precision: str
    allow_fallback: bool
    options: dict[str, dict[str, Any]]  # engine -> its own


def build_engine(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="A fer-edge checkpoint (.safetensors), or edge, the shipped one.", callback=shipped_path("checkpoint")
        ),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Bundle to write (.fer).")] = Path("out.fer"),
    engine: EnginesToBuild = None,
    precision: Annotated[BuildPrecision | None, typer.Option(help="Precision of the layers; default: fp32.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="GPU target such as sm89; may be repeated.")] = None,
    max_batch: Annotated[int | None, typer.Option(min=1, help="Largest batch the engines take.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="ENGINE.NAME=VALUE", help="An engine's own build option; may be repeated."),
    ] = None,
    ranges: Annotated[
        Path | None,
        typer.Option(
            help="Activation ranges from fer-edge calibrate, or edge, the shipped ones; fp16 and int8 need them.",
            callback=shipped_path("ranges"),
        ),
    ] = None,
    float_precision: Annotated[
        FloatPrecision | None, typer.Option(help="Precision of the layers that are not int8; default: fp32.")
    ] = None,
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Take an engine that runs layers in another precision than asked.")
    ] = False,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Shipped recipe, rtx-fp16 for one, or a TOML file that says the same; flags win.",
            callback=shipped_path("recipe"),
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Build a bundle of engines from a checkpoint.

    Example: fer-edge build-engine edge.safetensors --engine openvino --precision fp32 -o edge.fer
    """
    from fer_edge.cli.output import console, phases, print_json
    from fer_edge.errors import ConfigError, EngineUnavailableError

    flags = {
        "checkpoint": checkpoint, "engines": engine, "precision": precision, "targets": target, "max_batch": max_batch,
        "ranges": ranges, "float_precision": float_precision, "allow_fallback": allow_fallback,
    }  # fmt: skip
    settings = _settings(_recipe(recipe), {name: value for name, value in flags.items() if value}, option or [])
    source = settings.pop("checkpoint", None)
    if source is None:
        raise ConfigError("no checkpoint: name one as the argument or in the recipe")
    check_out_file(out, ".fer", "a bundle")
    check_outputs({"--out": out}, source, settings.get("ranges"), recipe)
    try:
        from fer_edge.export.build import build_bundle
    except ImportError as error:
        raise EngineUnavailableError(
            f'building needs PyTorch ({error}); run: pip install "fer-edge[export]"'
        ) from error
    with phases(f"building {', '.join(settings['engines'])} from {source}") as progress:
        manifest = build_bundle(source, out, **settings, progress=progress)
    if json:
        print_json({"bundle": out, "manifest": manifest})
        return
    engines = ", ".join(f"{entry.engine} ({', '.join(entry.targets)})" for entry in manifest.engines)
    console().print(f"{out}: {manifest.precision}, {engines}, {out.stat().st_size / 1e6:.1f} MB")
    print_proofs(manifest.engines)


def _settings(recipe: dict[str, Any], flags: dict[str, Any], options: list[str]) -> dict[str, Any]:
    """Arguments of `build_bundle`: the recipe's, with the flags in their place.

    What a recipe says for int8 goes with its precision where a flag asks for another one.
    """
    asked = flags.get("precision")
    without_effect = {"fp32": ("ranges", "float_precision"), "fp16": ("float_precision",)}.get(asked or "", ())
    kept = {name: value for name, value in recipe.items() if name not in without_effect}
    settings = {**DEFAULTS, **kept, **flags}
    said, flagged = settings.get("options", {}), options_of_flags(options)
    settings["options"] = {name: {**said.get(name, {}), **flagged.get(name, {})} for name in {**said, **flagged}}
    return settings


def print_proofs(entries: Sequence[EngineEntry]) -> None:
    """Print in which precision engines multiply, and what of it is not theirs to say or not as asked.

    Operators that multiply nothing, the conversion of the uint8 input for one, are in `--json` alone.
    """
    from fer_edge.cli.output import err_console, print_table

    proofs = {entry.engine: entry.proof for entry in entries}
    rows = [
        (engine, precision, proof["operators"].get(precision, 0), f"{100 * share:.1f}")
        for engine, proof in proofs.items()
        for precision, share in sorted(proof["macs"].items())
        if share
    ]
    print_table("multiplications as executed", ("engine", "precision", "operators", "multiplications %"), rows)
    for name, proof in proofs.items():
        if proof["unverified"]:
            err_console().print(
                f"{name}: the precision of {100 * proof['unverified']:.0f} % of the multiply-accumulates is taken from "
                "the network's declared types: the engine can be inspected only on its target GPU",
                soft_wrap=True,
            )
    fallbacks = {name: len(proof["fallbacks"]) for name, proof in proofs.items() if proof["fallbacks"]}
    for name, count in fallbacks.items():
        err_console().print(f"{name} runs {count} layers in another precision than the graph says", soft_wrap=True)


def _recipe(path: Path | None) -> dict[str, Any]:
    """A recipe's settings, checked by name and type."""
    from fer_edge._settings import convert_some
    from fer_edge._toml import read_toml
    from fer_edge.errors import ConfigError

    if path is None:
        return {}
    try:
        found = read_toml(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"recipe {path} cannot be read: {error}") from error
    try:
        settings = convert_some(found, BuildRecipe)
    except ConfigError as error:
        raise ConfigError(f"recipe {path}: {error}") from error
    return settings | {kind: _file_named(path, kind, settings[kind]) for kind in FILES if kind in settings}


def _file_named(recipe: Path, kind: Literal["checkpoint", "ranges"], name: str) -> Path:
    """A file that a recipe names: relative to the recipe, or the shipped one of that name."""
    from fer_edge.shipped import shipped_file, shipped_names

    path = recipe.parent / name
    return shipped_file(kind, name) if not path.is_file() and name in shipped_names(kind) else path


def options_of_flags(flags: list[str]) -> dict[str, dict[str, Any]]:
    """Engine -> its build options, of `ENGINE.NAME=VALUE`."""
    options: dict[str, dict[str, Any]] = {}
    for flag in flags:
        name, value = setting_of_flag(flag, "ENGINE.NAME=VALUE")
        engine, dot, setting = name.partition(".")
        if not (dot and setting):
            raise typer.BadParameter(f"--option {flag}: expected ENGINE.NAME=VALUE")
        options.setdefault(engine, {})[setting] = value
    return options


def setting_of_flag(flag: str, expected: str) -> tuple[str, Any]:
    """Name and value of `NAME=VALUE`; the value as in TOML, words without quotes."""
    from fer_edge._toml import TOMLDecodeError, read_toml

    name, equals, text = flag.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"--option {flag}: expected {expected}")
    try:
        return name, read_toml(f"value = {text}")["value"]
    except TOMLDecodeError:
        return name, text
