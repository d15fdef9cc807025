"""Hook of PyInstaller, found through the entry point `pyinstaller40`: frozen apps get models, recipes and engines."""

from __future__ import annotations

from pathlib import Path


def hook_folders() -> list[str]:
    """Folders with hooks."""
    return [str(Path(__file__).parent)]
