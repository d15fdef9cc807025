"""All scenarios of the sweep, and those that read and write files, on tiny models."""

from __future__ import annotations

import csv
import importlib
import io
import json
from pathlib import Path

import torch
from PIL import Image

from fer_edge._files import file_sha256
from fer_edge.bundle import Bundle, write_bundle
from tests.endurance.scenario import Scenario, bundle_and_photo, bundle_and_photos, calling, command
from tests.endurance.socket_scenarios import SOCKET_SCENARIOS
from tests.signatures import write_pair
from tests.tiny import tiny_bundle, tiny_manifest, tiny_onnx
from tests.tiny_model import tiny_checkpoint

OLD = b"content before the run\n"
NEXT = ".best.next.safetensors"  # new checkpoint, until the resume point is written

# All that a scenario would import late: forked runs find it loaded.
for name in (
    "openvino",
    "onnxruntime",
    "pyarrow.parquet",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "mcap.writer",
    "av",
):
    importlib.import_module(name)


def _old(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(OLD)


def _prepare_bundle(folder: Path) -> None:
    _old(folder, "out.fer")


def _write_bundle(folder: Path) -> None:
    write_bundle(folder / "out.fer", tiny_manifest(), {"model.onnx": tiny_onnx()})


def _check_bundle(folder: Path) -> None:
    Bundle.open(folder / "out.fer").read("model.onnx")


def _prepare_add_engine(folder: Path) -> None:
    tiny_bundle(folder / "tiny.fer", engines=tiny_manifest().engines[:1])
    _old(folder, "out.fer")


def _prepare_keys(folder: Path) -> None:
    tiny_bundle(folder / "tiny.fer")
    write_pair(folder)


def _sign(folder: Path) -> int:
    return command("bundle", "sign", folder / "tiny.fer", "--private-key", folder / "key.pem")


def _check_signature(folder: Path) -> None:
    Bundle.open(folder / "tiny.fer", signed_by=folder / "key.pub")


def _prepare_verification(folder: Path) -> None:
    _prepare_keys(folder)
    _sign(folder)


def _prepare_checkpoint(folder: Path) -> None:
    tiny_checkpoint().save(folder / "tiny.safetensors")
    _old(folder, "out.safetensors")


def _copy_checkpoint(folder: Path) -> None:
    from fer_edge.model.checkpoint import load_checkpoint

    load_checkpoint(folder / "tiny.safetensors").save(folder / "out.safetensors")


def _check_checkpoint(folder: Path) -> None:
    from fer_edge.model.checkpoint import load_checkpoint

    load_checkpoint(folder / "out.safetensors")


def _prepare_training(folder: Path) -> None:
    _save_training(folder, epoch=1)


def _save_training(folder: Path, epoch: int = 2) -> None:
    from fer_edge.training.files import RunFiles

    files = RunFiles(folder)
    state = {"configuration": "{}", "epoch": epoch, "weights": torch.full((40_000,), float(epoch))}
    files.save(state, tiny_checkpoint(seed=epoch))


def _check_training(folder: Path, epoch: tuple[int, ...] = (2,)) -> None:
    from fer_edge.training.files import RunFiles

    files = RunFiles(folder)
    state = files.load()
    assert state["epoch"] in epoch
    files.check_pair(state)
    assert not (folder / NEXT).exists()


def _training_may_remain(path: Path) -> bool:
    """Return True for a pair that is complete, of the old or of the new epoch.

    A new checkpoint that could not get its name belongs to the resume point; the next run renames it.
    """
    from fer_edge.training.files import RunFiles

    state = RunFiles(path.parent).load()
    if path.name == NEXT and file_sha256(path) != state["best_sha256"]:
        return False
    _check_training(path.parent, (1, 2))
    return True


def _prepare_report(folder: Path) -> None:
    (folder / "report").mkdir()
    _old(folder, "report/index.html", "report/results.json")


def _write_report(folder: Path) -> None:
    from fer_edge.evaluation.report import write_report

    write_report(folder / "report", {"results.json": b"{}" * 2000, "index.html": b"<p>" * 2000})


def _report_may_remain(path: Path) -> bool:
    """Return True for a complete file; the page is written last."""
    return path.stat().st_size in (4000, 6000) and (path.parent / "results.json").stat().st_size == 4000


def _check_report(folder: Path) -> None:
    assert (folder / "report/index.html").stat().st_size == 6000
    assert (folder / "report/results.json").stat().st_size == 4000


def _predict_and_save(folder: Path) -> int:
    return command(
        *("predict", folder / "face.png", "--bundle", folder / "tiny.fer"),
        *("--crop", "--save", folder / "copies", "--json", "--engine", "onnxruntime"),
    )


def _prepare_copies(folder: Path) -> None:
    bundle_and_photo(folder)
    (folder / "copies").mkdir()


def _check_copies(folder: Path) -> None:
    (path,) = (folder / "copies").iterdir()
    with Image.open(path) as image:
        image.load()


def _prepare_recording(folder: Path) -> None:
    bundle_and_photos(folder)
    _old(folder, *RECORDINGS)


RECORDINGS = ("out.jsonl", "out.csv", "out.parquet", "out.mcap")


def _record(folder: Path) -> int:
    targets = [part for name in RECORDINGS for part in ("--to", folder / name)]
    return command(
        *("live", folder / "photos", "--bundle", folder / "tiny.fer"),
        *("--no-page", "--engine", "onnxruntime", *targets),
    )


def _check_recordings(folder: Path) -> None:
    from mcap.reader import make_reader
    from pyarrow import parquet

    frames = len([json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()])
    assert frames in (2, 3)  # a photograph that cannot be read is reported and left out
    assert len(list(csv.reader(io.StringIO((folder / "out.csv").read_text())))) > 1
    assert parquet.read_table(folder / "out.parquet").num_rows >= 1
    with (folder / "out.mcap").open("rb") as file:
        summary = make_reader(file).get_summary()
        assert summary is not None and summary.statistics is not None and summary.statistics.message_count >= frames


def _recording_may_remain(path: Path) -> bool:
    """Return True for a complete recording, and for whole lines."""
    data = path.read_bytes()
    if path.suffix in (".jsonl", ".csv"):
        return not data or data.endswith(b"\n")
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return bool(parquet.read_table(path).num_rows)
    from mcap.reader import make_reader

    with path.open("rb") as file:
        return make_reader(file).get_summary() is not None


def _prepare_shard(folder: Path) -> None:
    from fer_edge.score.run import score

    bundle_and_photos(folder)
    (folder / "photos" / "damaged.png").write_bytes(b"no image")
    result = score(
        folder / "photos", folder / "scores", bundle=folder / "tiny.fer", crop=True, workers=1, engine="onnxruntime"
    )
    assert result.passed
    _old(folder, *SHARD)


SHARD = ("scores/part-000000.parquet", "scores/_damaged.csv")


def _score_shard(folder: Path) -> None:
    from fer_edge.score.scorer import Scorer
    from fer_edge.score.shards import read_summary, write_damaged

    scores = folder / "scores"
    assert read_summary(scores, 0, "") is None
    with Scorer(scores, folder / "tiny.fer", 1, False) as scorer:
        summary = scorer.score(0)
    write_damaged(scores, summary.damaged)


def _shard_may_remain(path: Path) -> bool:
    """Return True for a complete shard; the list of damaged inputs is written after it."""
    from pyarrow import parquet

    return path.suffix == ".parquet" and bool(parquet.read_table(path).num_rows == 3)


def _check_shard(folder: Path) -> None:
    from pyarrow import parquet

    assert parquet.read_table(folder / SHARD[0]).num_rows == 3
    assert len((folder / SHARD[1]).read_text().splitlines()) == 2


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("open bundle", bundle_and_photo, lambda folder: command("inspect", folder / "tiny.fer", "--json")),
        Scenario(
            "predict",
            _prepare_copies,
            _predict_and_save,
            frozenset({"copies/face.png", "copies/face.jpg"}),
            _check_copies,
        ),
        Scenario(
            "write bundle",
            _prepare_bundle,
            calling(_write_bundle),
            frozenset({"out.fer"}),
            _check_bundle,
        ),
        Scenario(
            "add engine",
            _prepare_add_engine,
            lambda folder: command(
                *("bundle", "add-engine", folder / "tiny.fer", "--engine", "onnxruntime", "--out", folder / "out.fer")
            ),
            frozenset({"out.fer"}),
            _check_bundle,
        ),
        Scenario("sign bundle", _prepare_keys, _sign, frozenset({"tiny.fer.sig"}), _check_signature),
        Scenario(
            "verify bundle",
            _prepare_verification,
            lambda folder: command("bundle", "verify", folder / "tiny.fer", "--signed-by", folder / "key.pub"),
        ),
        Scenario(
            "copy checkpoint",
            _prepare_checkpoint,
            calling(_copy_checkpoint),
            frozenset({"out.safetensors"}),
            _check_checkpoint,
        ),
        Scenario(
            "save training",
            _prepare_training,
            calling(_save_training),
            frozenset({"best.safetensors", "last.pt", NEXT}),
            _check_training,
            _training_may_remain,
        ),
        Scenario(
            "write report",
            _prepare_report,
            calling(_write_report),
            frozenset({"report/index.html", "report/results.json"}),
            _check_report,
            _report_may_remain,
        ),
        Scenario(
            "record", _prepare_recording, _record, frozenset(RECORDINGS), _check_recordings, _recording_may_remain
        ),
        Scenario(
            "score shard",
            _prepare_shard,
            calling(_score_shard),
            frozenset(SHARD),
            _check_shard,
            _shard_may_remain,
        ),
        *SOCKET_SCENARIOS,
    )
}
