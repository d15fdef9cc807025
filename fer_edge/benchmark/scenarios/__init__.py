"""Scenarios of the benchmark: one module each, see `fer_edge.benchmark.scenario.Scenario`.

A module in this folder is a scenario, unless its name begins with an underscore.
"""

from __future__ import annotations

import pkgutil


def scenario_names() -> list[str]:
    """Return the names of all scenarios in alphabetical order, without importing them."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [name.replace("_", "-") for name in modules if not name.startswith("_")]
