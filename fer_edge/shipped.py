"""Files that come with the package, found by name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fer_edge._text import did_you_mean
from fer_edge.errors import ConfigError

_SUFFIX = ".safetensors"


def checkpoint_path(name: Path | str) -> Path:
    """Path of a checkpoint: as given, or of the shipped one for its name, `edge`.

    Raises:
        ConfigError: The name is neither a file nor shipped.
    """
    path = Path(name)
    if len(path.parts) != 1 or path.suffix or path.is_file():
        return path
    folder = resources.files("fer_edge.weights")
    shipped = Path(str(folder.joinpath(f"{path.name}{_SUFFIX}")))
    if shipped.is_file():
        return shipped
    names = sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(_SUFFIX))
    raise ConfigError(
        f"no checkpoint at {path}; expected a file, or one that is shipped: {', '.join(names)}"
        f"{did_you_mean(path.name, names)}"
    )
