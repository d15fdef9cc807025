"""Folders that the processes of a test run share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that one process of the run makes, while the others wait for it.

    Args:
        factory: Pytest's fixture `tmp_path_factory`.
        name: Name of the folder.
        make: Function that fills the new folder, which is not moved afterwards.
    """
    run = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder, finished = run / name, run / f"{name}.finished"
    with FileLock(run / f"{name}.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder
