"""Registry of scenarios, and their selection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Any

from fer_edge._text import did_you_mean
from fer_edge.benchmark.scenario import Scenario
from fer_edge.benchmark.scenarios import scenario_names
from fer_edge.engines.base import Runner
from fer_edge.errors import ConfigError, EngineError


def _load_scenarios() -> dict[str, Scenario[Any]]:
    """Import all scenarios; return them by name, in the order in which they run."""
    modules = [import_module(f"fer_edge.benchmark.scenarios.{name.replace('-', '_')}") for name in scenario_names()]
    scenarios: list[Scenario[Any]] = [module.SCENARIO for module in modules]
    return {scenario.name: scenario for scenario in sorted(scenarios, key=lambda scenario: scenario.order)}


SCENARIOS = _load_scenarios()
QUICK = tuple(name for name, scenario in SCENARIOS.items() if scenario.quick)


def select_scenarios(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the scenarios to run in the order of `SCENARIOS`; "all" selects every one, None the quick ones.

    Raises:
        ConfigError: Unknown name.
    """
    for name in names or ():
        if name not in SCENARIOS and name != "all":
            expected = ", ".join((*SCENARIOS, "all"))
            raise ConfigError(f"no scenario {name!r}; expected one of: {expected}{did_you_mean(name, SCENARIOS)}")
    selected = set(SCENARIOS if names and "all" in names else names or QUICK)
    return tuple(name for name in SCENARIOS if name in selected)


def check_settings(scenarios: Sequence[str], settings: Collection[str]) -> None:
    """Check that every setting has an effect on one of the scenarios.

    Args:
        scenarios: Scenarios to run.
        settings: Names of the settings that were given.

    Raises:
        ConfigError: Setting without effect.
    """
    for setting in settings:
        users = [name for name, scenario in SCENARIOS.items() if setting in scenario.settings]
        if not set(users) & set(scenarios):
            needed = f"the scenario {users[0]}" if len(users) == 1 else f"the scenarios {', '.join(users)}"
            raise ConfigError(f"{setting} applies only to {needed}; add one, or omit {setting}")


def split_supported(
    scenarios: Sequence[str], required: Collection[str], engine: str, runner: Runner, device: int = 0
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Split scenarios into those that the engine supports and the others, before anything is measured.

    Args:
        scenarios: Names of the scenarios.
        required: Names of those that must be supported.
        engine: Name of the engine.
        runner: The loaded engine.
        device: CUDA index of its GPU.

    Returns:
        Supported scenarios, and the reason of each unsupported one.

    Raises:
        EngineError: Required scenario that is unsupported.
    """
    reasons = {name: SCENARIOS[name].unsupported_reason(engine, runner, device) for name in scenarios}
    unsupported = {name: reason for name, reason in reasons.items() if reason}
    for name, reason in unsupported.items():
        if name in required:
            raise EngineError(f"{name} is not supported: {reason}; nothing was measured, omit {name}")
    return tuple(name for name in scenarios if name not in unsupported), unsupported
