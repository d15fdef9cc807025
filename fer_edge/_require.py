"""Import of optional packages, with the extra that installs them in the message."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fer_edge._text import one_line
from fer_edge.errors import EngineUnavailableError


def require(module: str, extra: str, purpose: str) -> Any:
    """Import an optional package.

    Args:
        module: Name of the module: "torch".
        extra: Extra of fer-edge that installs it: "export".
        purpose: Work that needs it, at the start of the message: "building".

    Returns:
        The module.

    Raises:
        EngineUnavailableError: Missing or broken package; the message has the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise EngineUnavailableError(
            f'{purpose} needs {module} ({one_line(str(error))}); run: pip install "fer-edge[{extra}]"'
        ) from error
