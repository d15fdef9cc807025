"""Contenders in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fer_edge.benchmark.compare import Contender, comparisons, take_turns, take_turns_of
from fer_edge.errors import EngineError

SCRIPT = """
import json, sys
print(json.dumps({"ready": {"version": "1.2"}}), flush=True)
for index, line in enumerate(sys.stdin):
    count = json.loads(line)["time"]
    print(json.dumps({"nanoseconds": [MILLISECONDS * 1000000 + 1000 * index] * count}), flush=True)
"""


def command(milliseconds: int) -> list[str]:
    return [sys.executable, "-c", SCRIPT.replace("MILLISECONDS", str(milliseconds))]


def test_contenders_take_turns_and_are_compared_with_the_first() -> None:
    told: list[float] = []
    with Contender("slow", command(8)) as slow, Contender("fast", command(4)) as fast:
        assert slow.described == {"version": "1.2"}
        times = take_turns([slow, fast], rounds=12, turn=3, progress=told.append)
    assert {name: found.shape for name, found in times.items()} == {"slow": (12, 3), "fast": (12, 3)}
    # Each answer is a microsecond longer than the last one: all were asked once a round, after a turn for nothing.
    assert times["fast"][:, 0].tolist() == [4_000_000 + 1000 * index for index in range(1, 13)]
    assert told[-1] == 1
    first, second = comparisons(times)
    assert (first.name, first.p50_ratio.value) == ("slow", 1)
    assert second.p50_ratio.value == pytest.approx(0.5, abs=0.001)
    assert second.p50_ratio.low is not None and second.p50_ratio.low <= second.p50_ratio.value
    assert second.p90_ratio.value == pytest.approx(0.5, abs=0.001)
    assert second.latency.count == 36


def test_ratios_do_not_follow_the_machine() -> None:
    weather = np.random.default_rng(0).uniform(1, 3, (30, 1))
    base = (weather * np.full((30, 5), 1e6)).astype(np.int64)
    _, other = comparisons({"a": base, "b": (base * 0.9).astype(np.int64)})
    assert other.p50_ratio.low == pytest.approx(0.9, abs=1e-4) == other.p50_ratio.high


def test_what_a_contender_complained_about_is_told() -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('error: no bundle at x.fer')"]
    with pytest.raises(EngineError, match=r"theirs gave no answer; it said: error: no bundle at x\.fer"):
        take_turns_of({"theirs": broken}, rounds=2, turn=1)
    chatty = [sys.executable, "-c", "print('hello')"]
    with pytest.raises(EngineError, match="it said: nothing but 'hello"):
        take_turns_of({"theirs": chatty}, rounds=2, turn=1)
    dies = [sys.executable, "-c", "print('{\"ready\": {}}'); raise SystemExit('out of memory')"]
    with pytest.raises(EngineError, match="it said: out of memory"):
        take_turns_of({"theirs": dies}, rounds=2, turn=1)


def test_contenders_end_with_their_block(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    script = SCRIPT.replace("MILLISECONDS", "1") + f"open({str(gone)!r}, 'w')"
    with Contender("one", [sys.executable, "-c", script]) as one:
        one.time(1)
    assert gone.exists()
