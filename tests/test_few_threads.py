"""NumPy is started without threads of its own where few are allowed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fer_edge import _few_threads
from fer_edge._few_threads import VARIABLE, spare_threads

resource = pytest.importorskip("resource")


@pytest.mark.parametrize(
    ("user", "container", "given", "expected"),
    [
        (-1, None, None, None),
        (100_000, 4096, None, None),
        (20, None, None, "1"),
        (-1, 20, None, "1"),
        (20, 20, "4", "4"),
    ],
)
def test_few_threads_are_left_to_others(
    user: int, container: int | None, given: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, given or "")
    if given is None:
        monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (user, user))
    monkeypatch.setattr(_few_threads, "process_limit", lambda: container)
    monkeypatch.setattr(sys, "modules", {name: module for name, module in sys.modules.items() if name != "numpy"})
    spare_threads()
    assert os.environ.get(VARIABLE) == expected


def test_nothing_is_changed_once_numpy_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(_few_threads, "process_limit", lambda: 2)
    spare_threads()
    assert VARIABLE not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="limits of control groups are Linux's")
def test_the_package_sees_to_it_before_numpy_is_imported() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (40, 40));"
        f"import fer_edge, os; print(os.environ.get('{VARIABLE}'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert ran.stdout == "1\n", ran.stderr
