"""Options that several commands share: one name and one meaning in every command."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from fer_edge import choices
from fer_edge.benchmark.scenarios import scenario_names
from fer_edge.cli.option_checks import known_engine, plot_file, prompt_templates, shipped_path

# Typer accepts a Literal as the type of one value, but not as the element type of a list; there it needs an Enum.
# Engines are text for Typer, since installed packages may add some.
if TYPE_CHECKING:
    from fer_edge.choices import EngineName, LayerKind, RunnerName

    ScenarioName = str
else:
    EngineName = RunnerName = str
    LayerKind, ScenarioName = (
        Enum(name, [(choice, choice) for choice in values])
        for name, values in {
            "LayerKind": get_args(choices.LayerKind),
            "ScenarioName": (*scenario_names(), "all"),
        }.items()
    )


def engine_option(text: str, kind: Any = choices.EngineName) -> Any:
    """Return the option `--engine`, for one name or several.

    Args:
        text: Help.
        kind: Literal with the names to offer; the option accepts engines of installed packages too.
    """
    offered = get_args(kind)
    return typer.Option(
        "--engine",
        help=text,
        callback=known_engine(offered),
        autocompletion=lambda incomplete: [name for name in offered if name.startswith(incomplete)],
    )


def names(values: list[Any] | None) -> list[str] | None:
    """Convert the enum members of a list option to strings."""
    return None if values is None else [value.value for value in values]


# Input and output
CheckpointArgument = Annotated[
    Path,
    typer.Argument(help="Checkpoint (.safetensors), or `edge`, the shipped one.", callback=shipped_path("checkpoint")),
]
BundleArgument = Annotated[
    Path, typer.Argument(help="Bundle (.fer), or `edge`, the shipped one.", callback=shipped_path("bundle"))
]
ShippedBundle = Annotated[
    Path | None,
    typer.Option("--bundle", help="Bundle (.fer); default: `edge`, the shipped one.", callback=shipped_path("bundle")),
]
SignedBy = Annotated[
    Path | None,
    typer.Option(
        "--signed-by", help="Public key (PEM) that must have signed the bundle; default: the origin is not checked."
    ),
]
Reload = Annotated[
    bool,
    typer.Option(
        "--reload",
        help="Load the bundle again when its file is replaced, or on SIGHUP; results continue meanwhile.",
    ),
]
ModelArgument = Annotated[
    Path,
    typer.Argument(
        help="Bundle (.fer) or checkpoint (.safetensors), or `edge`, the shipped bundle.",
        callback=shipped_path("bundle"),
    ),
]
DataArgument = Annotated[
    Path, typer.Argument(help="Data set: FERPlus, RAF-DB, SFEW, one folder per label, or a list file.")
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Checkpoint that the bundle was built from, or `edge`, the shipped one.",
        callback=shipped_path("checkpoint"),
    ),
]
Images = Annotated[Path | None, typer.Option("--images", metavar="DIR", help="Folder or data set of face images.")]
Count = Annotated[
    int | None,
    typer.Option("--count", min=1, help="Number of images to use, evenly spread over the data set; default: all."),
]
BundleOut = Annotated[Path, typer.Option("--out", "-o", help="Bundle to write (.fer).")]
CheckpointOut = Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write (.safetensors).")]
FeaturesOut = Annotated[Path, typer.Option("--out", "-o", help="Text features to write (.safetensors).")]
RangesOut = Annotated[Path, typer.Option("--out", "-o", help="Activation ranges to write (.json).")]
FolderOut = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write into.")]
Port = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="Port of the page on the loopback address; default: a free one."),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address of the page without opening it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
CsvOut = Annotated[Path | None, typer.Option("--csv", help="CSV file to write: every figure with its environment.")]
Report = Annotated[
    Path | None,
    typer.Option("--report", metavar="DIR", help="Folder for an HTML page with pictures, and its figures as files."),
]
Plot = Annotated[Path | None, typer.Option("--plot", help="Picture to write (.svg, .png or .pdf).", callback=plot_file)]
Everything = Annotated[bool, typer.Option("--all", help="List every row of the table, not only the worst 10.")]

# Data sets
Split = Annotated[
    choices.Split | None, typer.Option("--split", help="Split of a data set that has splits; default: valid.")
]
Layout = Annotated[
    choices.LayoutName,
    typer.Option(
        "--layout", help="Layout of the data set; `auto` detects all but `rafdb-original`, which has to be named."
    ),
]
ValidData = Annotated[
    Path | None, typer.Option("--valid-data", metavar="DIR", help="Validation images; default: those of DATA.")
]
SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="Skip images that cannot be read; default: stop at the first.")
]
Labels = Annotated[choices.LabelSetName, typer.Option("--labels", help="Label set.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the random choices; default: the recipe's.")]

# Engines
FIRST_ENGINE = "Engine of the bundle; default: the first that runs on this machine."
Engine = Annotated[EngineName | None, engine_option(FIRST_ENGINE)]
Runner = Annotated[
    RunnerName | None, engine_option(f"{FIRST_ENGINE} Checkpoints run on `pytorch`.", choices.RunnerName)
]
EngineToBuild = Annotated[EngineName, engine_option("Engine to build.")]
EnginesToBuild = Annotated[
    list[EngineName] | None,
    engine_option(f"Engine to build; repeat for several. Default: {choices.DEFAULT_ENGINE}."),
]
EngineToExport = Annotated[EngineName | None, engine_option("Engine of the bundle; default: the first.")]
EngineToScore = Annotated[
    EngineName | None, engine_option(f"Engine to measure accuracy on; default: {choices.DEFAULT_ENGINE}.")
]
GpuArchs = Annotated[
    list[str] | None,
    typer.Option("--gpu-arch", metavar="SM", help="GPU architecture to build for, such as sm89; repeat for several."),
]
BuildSettings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Build setting, KEY is ENGINE.NAME; repeat for several."),
]
AllowFallback = Annotated[
    bool,
    typer.Option("--allow-fallback", help="Accept an engine that runs layers in another precision than the graph's."),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Number of CPU threads; default: the engine's choice.")
]
OneThread = Annotated[int, typer.Option("--threads", min=1, help="Number of CPU threads.")]
Device = Annotated[
    int | None, typer.Option("--device", min=0, help="Index of the GPU, for engines that run on one; default: 0.")
]
AllowHostCode = Annotated[
    bool,
    typer.Option(
        "--allow-host-code",
        help="Run native code that a version-compatible TensorRT engine contains, with your rights. Only for bundles "
        "from a trusted source: hashes detect damage, not a forged bundle.",
    ),
]
Detail = Annotated[
    choices.Detail | None,
    typer.Option(
        "--detail", help="Size of the faces to search: `fast` large ones only, `fine` small ones too; default: normal."
    ),
]
Crop = Annotated[bool, typer.Option("--crop", help="Treat each image as a face crop, without a search for faces.")]
MaxPixels = Annotated[
    int | None, typer.Option("--max-pixels", min=1, help="Largest number of pixels of an image; default: 89478485.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=1024,
        help="Number of workers with networks of their own; default: one for each usable core, for `serve` up to 4.",
    ),
]
Frame = Annotated[Path | None, typer.Option("--image", help="Image to use as the frame; default: a synthetic one.")]
FaceBox = Annotated[
    str | None,
    typer.Option(
        "--box", metavar="X,Y,W,H", help="Face box in pixels: left, top, width, height; default: the whole image."
    ),
]

FrameRate = Annotated[
    float | None,
    typer.Option("--fps", help="Frames per second of a camera or folder; default: the camera's, or 25."),
]

# Benchmarks
Scenarios = Annotated[
    list[ScenarioName] | None,
    typer.Option(
        "--scenario",
        help="Scenario to run; repeat for several. `all` skips scenarios that the engine does not support, and lists "
        "them. Default: single-stream, batches and, for engines on a GPU, on-device.",
        callback=names,
    ),
]

# Calibration
CalibrationMethod = Annotated[
    choices.CalibrationMethod, typer.Option("--method", help="Method that chooses ranges from activations.")
]
LayerKinds = Annotated[
    list[LayerKind] | None,
    typer.Option(
        "--layer-kind",
        help="Kind of layer to quantise; repeat for several. Default: conv and linear.",
        callback=names,
    ),
]

# Training and text features
TrainingRecipe = Annotated[
    str, typer.Option("--recipe", metavar="FILE", help="Shipped training recipe, or a TOML file.")
]
TrainingSettings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Recipe setting to change; repeat for several."),
]
StemWeights = Annotated[Path | None, typer.Option("--stem-weights", help="face.evoLVe IR-50 weights for the stem.")]
TextFeatures = Annotated[
    Path | None,
    typer.Option("--text-features", help="Text features (.safetensors) from `fer-edge checkpoint text-features`."),
]
TextModel = Annotated[
    str | None,
    typer.Option(
        "--text-model",
        help="Name of the text encoder: `minilm` (extra `text`), or an open_clip model; default: ViT-B-32.",
    ),
]
TextWeights = Annotated[
    str | None,
    typer.Option(
        "--text-weights",
        help="Weights of an open_clip model: a tag of open_clip or a file; `untrained` makes random ones for trials; "
        "default: openai.",
    ),
]
Retries = Annotated[int, typer.Option("--retries", min=0, help="Number of further attempts of a failed download.")]
Templates = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        help="Prompt template: a text with {}, or word, phrase, active or passive; repeat for several.",
        callback=prompt_templates,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", min=1, help="Number of passes over the training images; default: the recipe's."),
]
