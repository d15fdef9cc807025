"""Which scenarios can be measured on an engine; asked before any is, so that no figure is lost to one that cannot."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fer_edge.engines.base import Runner
from fer_edge.engines.registry import get_profiler
from fer_edge.errors import EngineError


def measurable(
    scenarios: Sequence[str], named: Collection[str], engine: str, runner: Runner, device: int = 0
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Those that can be measured, and why each of the others cannot.

    Args:
        scenarios: All that are wanted.
        named: Those of them that were asked for by name.
        engine: The engine's name.
        runner: It, loaded.
        device: Which GPU it was loaded on.

    Raises:
        EngineError: One that was asked for by name cannot be measured.
    """
    reasons = {name: _reason_against(name, engine, runner, device) for name in scenarios}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    for name, reason in left_out.items():
        if name in named:
            raise EngineError(f"{name} cannot be measured: {reason}; nothing was measured, leave {name} out")
    return tuple(name for name in scenarios if name not in left_out), left_out


def _reason_against(scenario: str, engine: str, runner: Runner, device: int) -> str:
    """Why a scenario cannot be measured; empty if it can."""
    if scenario == "roofline":
        return _profiler_reason(engine)
    if scenario == "on-device" and not runner.has_device:
        return f"{engine} runs on the processor, which has no clock of its own; engines on a GPU have one"
    if scenario == "cold-start" and runner.has_device and device:
        return f"`fer-edge predict`, which it starts, runs on GPU 0, and --device says {device}"
    return ""


def _profiler_reason(engine: str) -> str:
    try:
        get_profiler(engine)
    except EngineError as error:
        return str(error)
    return ""
