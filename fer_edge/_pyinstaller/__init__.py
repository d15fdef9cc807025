"""PyInstaller hooks, registered by the entry point `pyinstaller40`: they add models, recipes and engines to apps."""

from __future__ import annotations

from pathlib import Path


def hook_folders() -> list[str]:
    """Return the folders that contain hooks."""
    return [str(Path(__file__).parent)]
