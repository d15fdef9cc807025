"""Single-threaded BLAS for NumPy under a low process limit."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fer_edge import _few_threads
from fer_edge._few_threads import VARIABLE, limit_blas_threads

resource = pytest.importorskip("resource")


@pytest.mark.parametrize(
    ("user", "container", "variable", "expected"),
    [
        (-1, None, None, None),
        (100_000, 4096, None, None),
        (20, None, None, "1"),
        (-1, 20, None, "1"),
        (20, 20, "4", "4"),
    ],
)
def test_low_process_limit_sets_one_blas_thread(
    user: int, container: int | None, variable: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, variable or "")
    if variable is None:
        monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (user, user))
    monkeypatch.setattr(_few_threads, "process_limit", lambda: container)
    monkeypatch.setattr(sys, "modules", {name: module for name, module in sys.modules.items() if name != "numpy"})
    limit_blas_threads()
    assert os.environ.get(VARIABLE) == expected


def test_variable_is_not_set_after_numpy_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(_few_threads, "process_limit", lambda: 2)
    limit_blas_threads()
    assert VARIABLE not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="control groups exist on Linux only")
def test_package_sets_the_variable_before_numpy_is_imported() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (40, 40));"
        f"import fer_edge, os; print(os.environ.get('{VARIABLE}'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    process = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert process.stdout == "1\n", process.stderr
