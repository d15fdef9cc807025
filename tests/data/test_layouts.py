"""Data set layouts: detection, reading, invalid files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from fer_edge.choices import LayoutName
from fer_edge.data import layouts as layout_package
from fer_edge.data.layouts import find_layout, layouts, read_split, read_text_file
from fer_edge.data.sources import image_set
from fer_edge.errors import ConfigError, DataError, ImageError
from fer_edge.labels import FERPLUS, RAFDB, SFEW, canonical, match_labels
from tests.synthetic import face, make_ferplus, make_rafdb, make_sfew


def layout_name(root: Path) -> str | None:
    layout = find_layout(root)
    return None if layout is None else layout.name


def test_labels_match_synonyms() -> None:
    assert canonical("Happy") == "happiness" and canonical("anger") == "anger" and canonical("Bored") == "bored"
    assert match_labels(("Angry", "joy", "sadness"), RAFDB.labels) == [5, -1, 4]
    assert match_labels(SFEW.labels, FERPLUS.labels) == [4, 5, 6, 1, 0, 3, 2]
    assert match_labels(("joy",), ("x", "y"), ("joy", "grief")) == [0]


def test_rafdb_is_read(tmp_path: Path) -> None:
    root = make_rafdb(tmp_path)
    assert layout_name(root) == layout_name(root / "basic") == "rafdb"
    train = read_split(root, "train")
    assert (len(train), train.label_set, train.required_labels[:7].tolist()) == (14, RAFDB, list(range(7)))
    assert train.paths[0].name == "train_00001_aligned.jpg" and train.boxes is None
    images, indices = train.decode()
    assert images.shape == (14, 3, 100, 100) and indices.tolist() == list(range(14))
    original = read_split(root, "test", "rafdb-original")
    assert original.paths[0].name == "test_00001.jpg" and original.boxes == ((10, 20, 120, 120),) * 7
    assert original.decode()[0].shape == (7, 3, 112, 112)
    with pytest.raises(DataError, match="RAF-DB has the splits train and test, not valid"):
        read_split(root, "valid")
    (root / "basic/EmoLabel/list_patition_label.txt").write_text("train_00001.jpg 8\n")
    with pytest.raises(DataError, match="line 1: expected an image name and a class from 1 to 7"):
        read_split(root, "train")
    (root / "basic/EmoLabel/list_patition_label.txt").write_text("../train_1.jpg 1\n")
    with pytest.raises(DataError, match="line 1: expected an image name"):
        read_split(root, "train")


def test_sfew_and_class_folders_are_read(tmp_path: Path) -> None:
    root = make_sfew(tmp_path / "sfew")
    assert layout_name(root) == "sfew"
    valid = read_split(root, "valid")
    assert valid.label_set is SFEW and valid.required_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    with pytest.raises(DataError, match="has no folder test or testing"):
        read_split(root, "test")
    (root / "Val" / "Bored").mkdir()
    with pytest.raises(DataError, match="folders that are not labels: Bored"):
        read_split(root, "valid")
    own = tmp_path / "own"
    for name in ("winking", "blinking"):
        face(own / "train" / name / "a.png", 0, 0)
    assert layout_name(own) == "folders"
    assert read_split(own, "train").label_set.labels == ("blinking", "winking")


def test_the_authors_lists_are_read(tmp_path: Path) -> None:
    make_rafdb(tmp_path)
    aligned = "basic/Image/aligned"
    text = f"{aligned}/train_00004_aligned.jpg happy 3\n\n{aligned}/train_00001_aligned.jpg surprise 0\n"
    others = "".join(f"{aligned}/train_0000{n}_aligned.jpg {w} {n - 1}\n" for n, w in enumerate(RAFDB.words, 1))
    list_path = tmp_path / "list.txt"
    list_path.write_text(text + others)
    assert layout_name(list_path) == "list"
    split = read_split(list_path, "train")
    assert split.label_set is RAFDB and split.required_labels[:2].tolist() == [3, 0]
    assert split.paths[0] == tmp_path / aligned / "train_00004_aligned.jpg"
    list_path.write_text("a.jpg happy 3\nb.jpg sad 3\n")
    with pytest.raises(DataError, match="line 2: index 3 is sad here and happy before"):
        read_split(list_path, "train")
    list_path.write_text("a.jpg happy\n")
    with pytest.raises(DataError, match="line 1: expected `path label-name class-index`"):
        read_split(list_path, "train")


def test_lists_with_bom_quotes_and_crlf_are_read(tmp_path: Path) -> None:
    list_path = tmp_path / "list.TXT"
    text = '"my faces/a b.jpg" happy 3\r\n\r\nb.jpg Happy 3\r\nc\u2028d.jpg fa\u0308rben 1\r\ne.jpg f\u00e4rben 1\r\n'
    list_path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert layout_name(list_path) == "list"
    split = read_split(list_path, "train")
    assert [path.name for path in split.paths] == ["a b.jpg", "b.jpg", "c\u2028d.jpg", "e.jpg"]
    assert split.paths[0].parent == tmp_path / "my faces"
    assert split.label_set.labels == ("f\u00e4rben", "happiness") and split.required_labels.tolist() == [1, 1, 0, 0]


def test_unreadable_lists_are_refused(tmp_path: Path) -> None:
    root = make_rafdb(tmp_path / "raf")
    list_path, table = tmp_path / "list.txt", root / "basic/EmoLabel/list_patition_label.txt"
    box = next((root / "basic/Annotation/boundingbox").iterdir())
    for path in (list_path, table):
        path.write_bytes(b"caf\xe9.jpg happy 3\n")
        with pytest.raises(DataError, match=rf"{path.name} is not UTF-8 text: .*; save it as UTF-8, or name another"):
            read_split(list_path if path is list_path else root, "train")
    with pytest.raises(DataError, match=rf"{box.name} cannot be read: Is a directory; make it readable"):
        box.unlink()
        box.mkdir()
        read_text_file(box)


def test_unknown_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder at .*nowhere"):
        read_split(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match="has none of the supported data set layouts"):
        read_split(tmp_path, "train")
    with pytest.raises(ConfigError, match="no layout 'imagenet'; expected auto or one of: ferplus, rafdb"):
        read_split(tmp_path, "train", "imagenet")


def test_damaged_images_are_errors_or_skipped(tmp_path: Path) -> None:
    split = read_split(make_ferplus(tmp_path), "train")
    split.paths[3].write_bytes(b"not an image")
    split.paths[5].unlink()
    with pytest.raises(ImageError, match=r"3\.png is not an image"):
        split.decode()
    errors: list[ImageError] = []
    images, indices = split.decode(errors.append)
    assert images.shape == (46, 1, 48, 48) and 3 not in indices and 5 not in indices
    assert [str(error) for error in errors][1].startswith(f"cannot read {split.paths[5]}")


def test_images_of_several_sizes_and_colours_are_one_array(tmp_path: Path) -> None:
    split = read_split(make_ferplus(tmp_path), "train").take(np.arange(3))
    Image.new("RGB", (300, 200), (10, 200, 30)).save(split.paths[1])
    images, _ = split.decode()
    assert images.shape == (3, 3, 112, 112)
    assert images[1, :, 50, 50].tolist() == [10, 200, 30]
    assert (images[0, 0] == images[0, 2]).all()


DEMO = """
import json
import numpy as np
from fer_edge.data.images import ImageSet
from fer_edge.data.layouts import Layout, read_text_file
from fer_edge.labels import FERPLUS

def read_demo(root, split):
    entries = json.loads(read_text_file(root / "demo.json"))[split]
    labels = np.array([FERPLUS.labels.index(label) for _, label in entries], np.int64)
    return ImageSet(tuple(root / name for name, _ in entries), labels, source=f"demo {split}", label_set=FERPLUS)

LAYOUT = Layout("demo", "demo.json", lambda root: (root / "demo.json").is_file(), read_demo)
"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Add a layout by one file in the package's folder; return a data set of this layout."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "demo.py").write_text(DEMO)
    monkeypatch.setattr("fer_edge.data.layouts.__path__", [*layout_package.__path__, str(tmp_path / "modules")])
    layouts.cache_clear()
    root = tmp_path / "data"
    face(root / "a.png", 0, 0)
    (root / "demo.json").write_text('{"valid": [["a.png", "happiness"]]}')
    yield root
    layouts.cache_clear()
    sys.modules.pop("fer_edge.data.layouts.demo", None)


def test_one_file_adds_a_layout(demo: Path) -> None:
    assert layout_name(demo) == "demo"
    images = image_set(demo, FERPLUS.labels, split="valid")
    assert images.paths == (demo / "a.png",) and images.required_labels.tolist() == [1]
    assert len(read_split(demo, "valid", "demo")) == 1
    with pytest.raises(
        ConfigError, match=r"no layout 'imagenet'; expected auto or one of: .*, demo, list, sfew, folders"
    ):
        read_split(demo, "valid", "imagenet")


def test_command_line_offers_every_layout() -> None:
    assert get_args(LayoutName) == ("auto", *layouts())
