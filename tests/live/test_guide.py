"""The script of the guide: from a camera to printed names of expressions, here on a clip."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge import ExpressionTracker
from tests.video.clips import Frame, write_clip

pytestmark = pytest.mark.xdist_group("live sessions")  # one process, which opens the networks once
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "live.md"


def test_script_prints_the_expressions_of_a_clip(
    make_tracker: Callable[[], ExpressionTracker],
    happy: Frame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)[0]
    assert "open_source(0)" in script and len(script.splitlines()) <= 12
    clip = write_clip(tmp_path / "clip.mp4", [happy] * 3)
    tracker = make_tracker()
    monkeypatch.setattr(ExpressionTracker, "open", lambda: tracker)
    exec(script.replace("open_source(0)", f"open_source({str(clip)!r})"), {})
    assert capsys.readouterr().out.splitlines() == ["1 happiness"] * 3
