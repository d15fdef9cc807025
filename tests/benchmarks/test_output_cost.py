"""Cost of outputs: a short run."""

from __future__ import annotations

import json

import pytest

from benchmarks import output_cost


@pytest.mark.slow  # a process for each receiver
def test_short_run_measures_each_output(capsys: pytest.CaptureFixture[str]) -> None:
    output_cost.main(["--frames", "9"])
    values = json.loads(capsys.readouterr().out)
    assert values["VMC"]["received"] == 9 and values["VMC"]["latency p99, ms"] > 0
    assert values["VRChat"]["received"] >= 2
