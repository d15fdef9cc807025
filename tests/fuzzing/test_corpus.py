"""Seeds of the fuzzers, inputs for the limits of parsers, and kept inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing.run import lines_of, minimise
from tests.fuzzing.targets import CORPUS, TARGETS, Target

QUICK = [name for name in TARGETS if name != "checkpoint"]  # whose inputs are PyTorch models
PARTLY_VALID = {"boxes"}  # with a number that no float can hold among its seeds


@pytest.mark.parametrize("name", [*QUICK, pytest.param("checkpoint", marks=pytest.mark.slow)])
def test_readers_refuse_what_they_cannot_read(name: str) -> None:
    target = TARGETS[name]
    valid = [target.run(data) for data in target.seeds()]
    assert any(valid) if name in PARTLY_VALID else all(valid)
    for data in target.inputs():
        target.run(data)


def test_kept_inputs_belong_to_targets_and_are_small() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} <= TARGETS.keys()
    for target in TARGETS.values():
        assert sum(path.stat().st_size for path in target.regressions()) <= 32_768


def test_other_errors_and_errors_of_several_lines_are_faults() -> None:
    def read(path: Path) -> None:
        raise KeyError(path)

    with pytest.raises(KeyError):
        Target("test", ".json", read, list).run(b"")


def test_minimised_inputs_reach_new_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzzing.run.CORPUS", tmp_path / "corpus")
    monkeypatch.setattr("tests.fuzzing.targets.CORPUS", tmp_path / "corpus")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "found").mkdir()
    target = TARGETS["boxes"]
    for name, data in {
        "new": b"[1]",
        "longer": b"[1, 2, 3]",
        "known": b"file,x,y,width,height\nb.png,1,2,3,4\n",
    }.items():
        (tmp_path / "found" / name).write_bytes(data)
    assert lines_of(target, b"[1]") - lines_of(target, b"")
    (copy,) = minimise(target, tmp_path / "found")
    assert copy.read_bytes() == b"[1]" and target.regressions() == [copy]
