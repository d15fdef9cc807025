"""Listing of folders, lists, archives and tables, also of hostile ones."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import pyarrow as arrow
import pytest
from pyarrow import parquet

from fer_edge.errors import ConfigError
from fer_edge.score.columns import read_rows
from fer_edge.score.inputs import list_sources
from fer_edge.score.items import Item
from fer_edge.score.tars import MAX_HEADER
from tests.score.conftest import png, write_tar


def list_items(
    *sources: Path, out: Path = Path("scores"), column: str | None = None, root: Path | None = None
) -> list[Item]:
    return list_sources(sources, out, column, root).items


def short(items: list[Item]) -> list[tuple[str, str, str]]:
    return [(item.kind, Path(item.source).name, item.name) for item in items]


def test_folder_with_sources_of_each_kind(mixture: Path) -> None:
    items = list_items(mixture)
    assert short(items) == [
        ("image", "a.png", ""),
        ("rows", "bytes.parquet", "image"),
        ("video", "clip.mp4", ""),
        ("image", "damaged.png", ""),
        ("damaged", "paths.parquet", "1"),
        ("damaged", "paths.parquet", "2"),
        ("member", "samples.tar", "0.png"),
        ("member", "samples.tar", "../../1.jpg"),
        ("member", "samples.tar", "2.png"),
    ]
    assert all("is outside of" in item.error for item in items if item.kind == "damaged")
    assert items == list_items(mixture, mixture / "a.png"), "a file is listed once"


def test_list_of_files_of_each_kind(mixture: Path, tmp_path: Path) -> None:
    names = ["", "a.png", "samples.tar", "a.png", "list.txt", "missing.mp4"]
    table = tmp_path / "list.txt"
    table.write_text("\r\n".join(str(mixture / name) if name else "" for name in names))
    assert [kind for kind, _, _ in short(list_items(table))] == ["image", *["member"] * 3, "damaged", "damaged"]


def test_results_below_a_source_are_not_scored(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "a.png").write_bytes(png())
    parquet.write_table(arrow.table({"image": [png()]}), tmp_path / "scores" / "part-000000.parquet")
    assert short(list_items(tmp_path, out=tmp_path / "scores")) == [("image", "a.png", "")]


def test_file_names_that_are_not_text_are_damaged(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png")).write_bytes(png())
    (item,) = list_items(tmp_path)
    assert item.kind == "damaged" and item.error == "the name of the file is not UTF-8; rename it"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [b"x"], "b": [b"x"]}, "has several columns of bytes: a, b; choose one with --column"),
        ({"a": [1]}, "has no column of images; expected bytes or paths, and has: a"),
    ],
)
def test_unclear_column_is_refused(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=message):
        list_items(tmp_path / "a.parquet")


def test_damaged_table(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + bytes(100))
    (item,) = list_items(path)
    assert item.kind == "damaged" and item.error.startswith(f"cannot read {path}: ")
    broken = arrow.StringArray.from_buffers(1, arrow.py_buffer(b"\0\0\0\0\1\0\0\0"), arrow.py_buffer(b"\xff"))
    parquet.write_table(arrow.table({"path": broken}), path)
    (item,) = list_items(path)
    assert item.kind == "damaged" and "utf-8" in item.error


def test_column_is_named(tmp_path: Path) -> None:
    images = [{"bytes": png(), "path": "a.png"}, None]
    parquet.write_table(arrow.table({"other": [b"x", b"x"], "image": images, "n": [1, 2]}), tmp_path / "a.parquet")
    (item,) = list_items(tmp_path / "a.parquet", column="image")
    assert list(read_rows(item)) == [(0, png()), (1, None)]
    for name, message in {"imgae": "did you mean image", "n": "is of type int64; expected images"}.items():
        with pytest.raises(ConfigError, match=message):
            list_items(tmp_path / "a.parquet", column=name)


def test_rows_are_read_from_any_place_of_any_row_group(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"image": [b"%d" % row for row in range(100)]}), path, row_group_size=30)
    for start, size in ((0, 100), (29, 2), (31, 20), (60, 40), (99, 1), (17, 55)):
        rows = list(read_rows(Item("rows", str(path), "image", start, size)))
        assert rows == [(row, b"%d" % row) for row in range(start, start + size)]


def test_root_widens_the_paths_of_a_column(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    parquet.write_table(arrow.table({"path": ["a.png", None]}), tmp_path / "tables" / "a.parquet")
    image, none = list_items(tmp_path / "tables" / "a.parquet", root=tmp_path)
    assert image == Item("image", str(tmp_path / "a.png")) and none.error.startswith("row 1 of")


def test_link_that_leads_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to("/etc")
    parquet.write_table(arrow.table({"path": ["link/hostname"]}), tmp_path / "data" / "a.parquet")
    (item,) = list_items(tmp_path / "data" / "a.parquet")
    assert item.kind == "damaged" and "is outside of" in item.error


def test_hostile_archives(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", {"a.png": png(), "b.png": png()})
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    packed = tmp_path / "packed.tar"
    packed.write_bytes(gzip.compress(whole.read_bytes()))
    text = tmp_path / "text.tar"
    text.write_text("text " * 500)
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.XHDTYPE, MAX_HEADER * 2
    (tmp_path / "header.tar").write_bytes(header.tobuf() + bytes(header.size + 1024))
    circle = tarfile.TarInfo("circle.png")
    circle.size = -1024
    (tmp_path / "circle.tar").write_bytes(circle.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    (tmp_path / "chain.tar").write_bytes(_empty_long_name() * 3000 + bytes(1024))
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    (tmp_path / "link.tar").write_bytes(link.tobuf() + bytes(1024))
    errors = {
        "cut": "a.png is truncated",
        "packed": "expected an uncompressed tar archive: unpack it with gzip -d",
        "text": "is damaged or not a tar archive",
        "header": "header of 2097152 bytes",
        "circle": "is damaged or not a tar archive",
        "chain": "is damaged or not a tar archive",
    }
    for name, message in errors.items():
        items = list_items(tmp_path / f"{name}.tar")
        assert items[0].kind == "damaged" and message in items[0].error, name
    with pytest.raises(ConfigError, match="no images or videos in"):
        list_items(tmp_path / "link.tar")


def _empty_long_name() -> bytes:
    """Return a header for the long name of the next member, of which tarfile reads a chain recursively."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    return header.tobuf(tarfile.GNU_FORMAT) + bytes(512)


def test_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file or folder at"):
        list_items(tmp_path / "missing")
