"""Outputs of a live session by target: a URL, or the name of a file to write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePath

from fer_edge._text import did_you_mean
from fer_edge.errors import ConfigError, shown
from fer_edge.live.output import Output

Note = Callable[[str], object]  # writes one sentence for the user


@dataclass(frozen=True)
class OutputKind:
    """Kind of output.

    Attributes:
        form: Form of a target: "osc://HOST:PORT?app=vrchat".
        title: Description, as a noun phrase.
        function: Module and function that make the output from the arguments of `make_output`, "module:function".
        live: Whether a recording is played at normal speed for it.
    """

    form: str
    title: str
    function: str
    live: bool = True


# By the scheme of a URL, or by the suffix of a file. Modules are imported on first use, so that one output works
# without the packages of the others.
OUTPUTS: dict[str, OutputKind] = {
    "osc": OutputKind(
        "osc://HOST:PORT?app=vrchat|vmc", "avatar in VRChat or in a VMC program", "fer_edge.live.outputs.osc:make_osc"
    ),
    "ws": OutputKind("ws://127.0.0.1:PORT", "server of a WebSocket", "fer_edge.live.outputs.stream:make_stream"),
    "http": OutputKind(
        "http://127.0.0.1:PORT", "server of events and of the newest result", "fer_edge.live.outputs.stream:make_stream"
    ),
    "webhook+http": OutputKind(
        "webhook+http://HOST/PATH", "request for each change of a label", "fer_edge.live.outputs.webhook:make_webhook"
    ),
    "webhook+https": OutputKind(
        "webhook+https://HOST/PATH", "the same, encrypted", "fer_edge.live.outputs.webhook:make_webhook"
    ),
    ".jsonl": OutputKind("FILE.jsonl", "lines of JSON", "fer_edge.live.outputs.files:make_file", live=False),
    ".csv": OutputKind(
        "FILE.csv", "table, a row per person and frame", "fer_edge.live.outputs.files:make_file", live=False
    ),
    ".parquet": OutputKind("FILE.parquet", "the same as Parquet", "fer_edge.live.outputs.files:make_file", live=False),
    ".mcap": OutputKind("FILE.mcap", "recording for Foxglove", "fer_edge.live.outputs.files:make_file", live=False),
}


def output_kind(target: str) -> OutputKind:
    """Return the kind of output that a target selects.

    Args:
        target: URL or name of a file.

    Raises:
        ConfigError: Unknown scheme or suffix.
    """
    scheme, separator, _ = target.partition("://")
    key = scheme.lower() if separator else PurePath(target).suffix.lower()
    if key not in OUTPUTS:
        forms = ", ".join(kind.form for kind in OUTPUTS.values())
        raise ConfigError(f"no output for {shown(target)}; expected one of: {forms}{did_you_mean(key, OUTPUTS)}")
    return OUTPUTS[key]


def make_output(target: str, labels: Sequence[str], note: Note) -> Output:
    """Make the output for a target; it is opened by the session.

    Args:
        target: URL or name of a file.
        labels: Labels of the model, in its order.
        note: Function that writes one sentence when a receiver fails, or works again; any thread may call it.

    Raises:
        ConfigError: Unknown kind of target, or invalid option in a URL.
        EngineUnavailableError: Extra that is not installed.
    """
    module, _, function = output_kind(target).function.partition(":")
    output: Output = getattr(import_module(module), function)(target, labels, note)
    return output
