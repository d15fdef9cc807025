"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fer_edge._text import did_you_mean

if TYPE_CHECKING:
    from fer_edge.data.splits import Split as SplitName
    from fer_edge.shipped import Kind


def one_of(what: str, choices: Callable[[], Iterable[str]]) -> Callable[[Any], Any]:
    """Make a callback that refuses names that do not exist, before anything large is imported.

    Args:
        what: Noun for the message, "engine".
        choices: Returns the names that exist.
    """

    def check(value: Any) -> Any:
        for name in (value,) if isinstance(value, str) else value or ():
            known = tuple(choices())
            if name not in known:
                raise typer.BadParameter(
                    f"no {what} {name!r}; expected one of: {', '.join(known)}{did_you_mean(name, known)}"
                )
        return value

    return check


def shipped(kind: Kind) -> Callable[[Any], Any]:
    """Make a callback that puts the path of a shipped file in place of its name, in a list of paths too."""

    def resolve(value: Any) -> Any:
        from fer_edge.errors import ConfigError
        from fer_edge.shipped import path_or_shipped

        try:
            if isinstance(value, list):
                return [path_or_shipped(kind, path) for path in value]
            return None if value is None else path_or_shipped(kind, value)
        except ConfigError as error:
            raise typer.BadParameter(str(error)) from None

    return resolve


def engine_names() -> Iterable[str]:
    """Names of the engines that bundles may hold."""
    from fer_edge.engines.registry import ENGINE_MODULES

    return ENGINE_MODULES


def _runners() -> Iterable[str]:
    return (*engine_names(), "pytorch")  # which runs checkpoints


def _layouts() -> Iterable[str]:
    from fer_edge.data.layouts import AUTO, LAYOUTS

    return (AUTO, *LAYOUTS)


def _label_sets() -> Iterable[str]:
    from fer_edge.labels import LABEL_SETS

    return LABEL_SETS


def _splits() -> Iterable[str]:
    from fer_edge.data.splits import SPLITS

    return SPLITS


def _templates(values: list[str] | None) -> list[str] | None:
    from fer_edge.errors import ConfigError
    from fer_edge.labels import fill_template, templates_named

    try:
        for template in templates_named(values or ()):
            fill_template(template, "happy")
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    return values


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="One of the bundle's engines; default: the first that runs here.",
        callback=one_of("engine", _runners),
    ),
]
EngineToBuild = Annotated[
    str, typer.Option("--engine", help="Engine to build.", callback=one_of("engine", engine_names))
]
EnginesToBuild = Annotated[
    list[str] | None,
    typer.Option("--engine", help="Engine to build; may be repeated.", callback=one_of("engine", engine_names)),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision", help="fp32, fp16 or int8.", callback=one_of("precision", lambda: ("fp32", "fp16", "int8"))
    ),
]
METHODS = ("minmax", "moving-average", "percentile", "entropy", "mse")
LAYER_KINDS = ("conv", "depthwise", "linear", "attention", "head")
CalibrationMethod = Annotated[
    str,
    typer.Option(
        "--method",
        help="minmax, moving-average, percentile, entropy or mse.",
        callback=one_of("method", lambda: METHODS),
    ),
]
LayerKinds = Annotated[
    list[str] | None,
    typer.Option(
        "--layers",
        help="Kind of layer to be int8: conv, depthwise, linear, attention, head; default: conv, linear.",
        callback=one_of("kind of layer", lambda: LAYER_KINDS),
    ),
]
Labels = Annotated[
    str,
    typer.Option("--labels", help="Label set: rafdb, ferplus or sfew.", callback=one_of("label set", _label_sets)),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: the engine's choice.")]
Device = Annotated[
    int | None,
    typer.Option("--device", min=0, help="Which GPU, counted from 0; for engines that have one. Default: 0."),
]
AllowHostCode = Annotated[
    bool,
    typer.Option(
        "--allow-host-code",
        help="Run the native code that a version-compatible TensorRT engine brings with it, with all your rights. Only "
        "for a bundle whose origin you trust: hashes tell damage, not who made it.",
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use N images only, evenly spread.")]
SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read, instead of stopping.")
]
CsvFile = Annotated[
    Path | None, typer.Option("--csv", help="Write every figure with the whole environment to this file.")
]
FaceImage = Annotated[Path | None, typer.Option("--image", help="Frame to use; default: a synthetic one.")]
FaceBox = Annotated[str | None, typer.Option("--box", help="The face: X,Y,WIDTH,HEIGHT; default: the whole image.")]
BundlePath = Annotated[
    Path,
    typer.Argument(metavar="BUNDLE", help="A .fer file, or edge, the shipped one.", callback=shipped("bundle")),
]
CheckpointPath = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A fer-edge checkpoint (.safetensors), or edge, the shipped one.",
        callback=shipped("checkpoint"),
    ),
]


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """X,Y,WIDTH,HEIGHT as numbers.

    Raises:
        BadParameter: It is something else.
    """
    if text is None:
        return None
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no box; expected X,Y,WIDTH,HEIGHT in pixels") from None
    return x, y, width, height


def check_split(split: str | None, data: Path, layout: str = "auto") -> SplitName:
    """Split to read of a data set.

    Args:
        split: As given on the command line; None for "valid".
        data: The data set.
        layout: As given; "auto" to tell by the folder.

    Raises:
        BadParameter: A split was given for a folder that has none.
    """
    from fer_edge.data.layouts import AUTO, find_layout

    if split is not None and layout == AUTO and data.exists() and find_layout(data) is None:
        raise typer.BadParameter(f"--split is about data sets with splits, and {data} has none; leave out --split")
    return cast("SplitName", split or "valid")


def refuse_given(about: str, remedy: str, **given: object) -> None:
    """Refuse options that would do nothing.

    Args:
        about: What they are about, which was not asked for.
        remedy: What would make them do something.
        given: Options by name; None where one was not given.

    Raises:
        BadParameter: One was given.
    """
    for name, value in given.items():
        if value is not None:
            raise typer.BadParameter(f"--{name} is about {about}; {remedy}, or leave out --{name}")


Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        callback=one_of("split", _splits),
        help="Split of the data set: train, valid or test; default: valid.",
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        "--layout",
        help="Layout of the data set, where it cannot be told: rafdb-original for one.",
        callback=one_of("layout", _layouts),
    ),
]
Template = Annotated[
    list[str] | None,
    typer.Option(
        "--template", help="Prompt with {}, or word, phrase, active, passive; may be repeated.", callback=_templates
    ),
]
RecipeName = Annotated[str, typer.Option("--recipe", help="Shipped recipe, or a .toml file of yours.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change any setting of the recipe.")
]
Valid = Annotated[Path | None, typer.Option("--valid", help="Validation images that lie elsewhere.")]
StemWeights = Annotated[Path | None, typer.Option("--stem", help="face.evoLVe IR_50 weights to start from.")]
TextFeaturesFile = Annotated[
    Path | None, typer.Option("--text-features", help="Text features of the labels, kept fixed.")
]
