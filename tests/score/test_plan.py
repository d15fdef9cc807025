"""Plan: every item in exactly one shard, and the refusal of other inputs and settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.ipc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import ConfigError, DataError
from fer_edge.score.items import VIDEO_BYTES, Item
from fer_edge.score.plan import KEY, NAME, Settings, divide, open_plan, read_plan

SETTINGS = Settings("0" * 64, "tiny", "onnxruntime", ("a", "b"), True, "normal", 1000, 4)
ITEMS = [
    Item("image", "/a.png"),
    Item("rows", "/b.parquet", "image", 0, 9),
    Item("video", "/c.mp4", size=6 * VIDEO_BYTES),
    Item("image", "/d.png"),
]


def test_rows_are_divided_and_videos_are_not() -> None:
    shards = [(shard, item.kind, item.offset, item.weight) for shard, item in divide(ITEMS, 4)]
    assert shards == [
        (0, "image", 0, 1),
        (0, "rows", 0, 3),
        (1, "rows", 3, 4),
        (2, "rows", 7, 2),
        (3, "video", 0, 6),
        (4, "image", 0, 1),
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["image", "rows", "video"]), st.integers(1, 40)), min_size=1, max_size=15),
    st.integers(1, 20),
)
def test_each_image_is_in_one_shard(entries: list[tuple[str, int]], size: int) -> None:
    items = []
    for index, (kind, count) in enumerate(entries):
        amount = {"image": 0, "rows": count, "video": count * VIDEO_BYTES}[kind]
        items.append(Item(kind, f"/{index}", "image" if kind == "rows" else "", 0, amount))  # type: ignore[arg-type]
    shards = list(divide(items, size))
    numbers = [shard for shard, _ in shards]
    assert numbers == sorted(numbers) and set(numbers) == set(range(numbers[-1] + 1))
    for index, item in enumerate(items):
        parts = [part for _, part in shards if part.source == f"/{index}"]
        assert sum(part.weight for part in parts) == item.weight
        if item.kind == "rows":
            places = [row for part in parts for row in range(part.offset, part.offset + part.size)]
            assert places == [*range(item.size)]
    for shard in set(numbers):
        weights = [item.weight for number, item in shards if number == shard]
        assert sum(weights) <= size or len(weights) == 1


def test_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = open_plan(tmp_path, SETTINGS, ITEMS)
    assert plan.settings == SETTINGS and plan.count == 5 and plan.weights == [4, 4, 2, 6, 1]
    assert [item for shard in range(5) for item in plan.items(shard)] == [item for _, item in divide(ITEMS, 4)]
    written = (tmp_path / NAME).read_bytes()
    assert open_plan(tmp_path, SETTINGS, ITEMS).digest == plan.digest
    assert (tmp_path / NAME).read_bytes() == written


def test_other_settings_and_inputs_are_refused(tmp_path: Path) -> None:
    open_plan(tmp_path, SETTINGS, ITEMS)
    with pytest.raises(
        ConfigError, match=r"model was 000000000000\.\.\., and is 111111111111\.\.\.; name another folder"
    ):
        open_plan(tmp_path, replace(SETTINGS, model="1" * 64), ITEMS)
    with pytest.raises(ConfigError, match="crop was True, and is False, shard was 4, and is 5;"):
        open_plan(tmp_path, replace(SETTINGS, crop=False, shard=5), ITEMS)
    with pytest.raises(ConfigError, match=r"6 entries before, 7 now, the first difference is /e\.png;"):
        open_plan(tmp_path, SETTINGS, [*ITEMS, Item("image", "/e.png")])
    with pytest.raises(ConfigError, match=r"the first difference is /A\.png in place of /a\.png;"):
        open_plan(tmp_path, SETTINGS, [Item("image", "/A.png"), *ITEMS[1:]])


def plan_with_settings(settings: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    schema = pyarrow.schema([("source", pyarrow.string())], metadata={KEY: settings})
    with pyarrow.ipc.new_file(sink, schema) as file:
        file.write_table(pyarrow.table({"source": ["a.png"]}, schema=schema))
    return bytes(sink.getvalue())


def test_damaged_plan_and_foreign_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"_plan\.arrow is missing or damaged"):
        read_plan(tmp_path)
    (tmp_path / "part-000000.parquet").touch()
    with pytest.raises(ConfigError, match=r"has Parquet files but no _plan\.arrow"):
        open_plan(tmp_path, SETTINGS, ITEMS)
    for content in (b"", b"text", b"ARROW1" + bytes(200), plan_with_settings(b'{"model": "\xed"}')):
        (tmp_path / NAME).write_bytes(content)
        with pytest.raises(DataError, match="is missing or damaged"):
            read_plan(tmp_path)
