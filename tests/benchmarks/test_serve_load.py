"""Load on a server: a short run, and the slope of memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks import serve_load
from tests.networks import require_networks
from tests.tiny import tiny_bundle


def test_slope_of_memory_has_an_interval() -> None:
    rng = np.random.default_rng(0)
    flat = [(float(second), 300 + rng.normal()) for second in range(600)]
    slope, interval = serve_load.memory_slope(flat)
    assert abs(slope) < interval < 0.5
    slope, interval = serve_load.memory_slope([(second, size + second / 60) for second, size in flat])
    assert slope == pytest.approx(1, abs=0.3) and slope - interval > 0.5
    assert np.isnan(serve_load.memory_slope(flat[:10])[0])


@pytest.mark.slow  # a server for some seconds
def test_short_run_has_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_networks()
    arguments = ["--seconds", "3", "--rate", "20", "--clients", "20", "--cameras", "1", "--workers", "1"]
    arguments += ["--bundle", str(tiny_bundle(tmp_path / "tiny.fer"))]
    with ThreadPoolExecutor(1) as pool:  # the main thread may run the event loop of Playwright
        assert pool.submit(serve_load.main, arguments).result() == 0
    report = capsys.readouterr().out
    for text in ("their errors", "none", "hostile clients", "text", "slow headers"):
        assert text in report
