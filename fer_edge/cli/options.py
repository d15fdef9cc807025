"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
EngineName = Annotated[str | None, typer.Option("--engine", help="One of the bundle's engines; default: its first.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: the engine's choice.")]
Device = Annotated[int, typer.Option("--device", min=0, help="Which GPU, counted from 0; for engines that have one.")]
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
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .fer file.")]


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


def refuse_given(about: str, cure: str, **given: object) -> None:
    """Refuse options that would do nothing.

    Args:
        about: What they are about, which was not asked for.
        cure: What would make them do something.
        given: Options by name; None where one was not given.

    Raises:
        BadParameter: One was given.
    """
    for name, value in given.items():
        if value is not None:
            raise typer.BadParameter(f"--{name} is about {about}; {cure}, or leave out --{name}")


def _known_split(split: str) -> str:
    from fer_edge.data.splits import SPLITS

    if split not in SPLITS:
        raise typer.BadParameter(f"split is {split!r}; expected one of: {', '.join(SPLITS)}")
    return split


Split = Annotated[
    str, typer.Option("--split", callback=_known_split, help="Split of the data set: train, valid or test.")
]
Layout = Annotated[
    str, typer.Option("--layout", help="Layout of the data set, where it cannot be told: rafdb-original for one.")
]
Template = Annotated[
    list[str] | None,
    typer.Option("--template", help="Prompt with {}, or word, phrase, active, passive; may be repeated."),
]
TextModel = Annotated[str, typer.Option("--text-model", help="open_clip's model name.")]
TextWeights = Annotated[str, typer.Option("--text-weights", help="open_clip's tag, or a local file.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="Shipped recipe, or a .toml file of yours.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change any setting of the recipe.")
]
Valid = Annotated[Path | None, typer.Option("--valid", help="Validation images that lie elsewhere.")]
StemWeights = Annotated[Path | None, typer.Option("--stem", help="face.evoLVe IR_50 weights to start from.")]
TextFeaturesFile = Annotated[
    Path | None, typer.Option("--text-features", help="Text features of the labels, kept fixed.")
]
