"""`fer_edge.predict`: faces of images, files of boxes, annotated copies."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

import fer_edge
from fer_edge.analysis.image_items import list_images, standard_input
from fer_edge.analysis.image_results import ImageResult
from fer_edge.errors import ConfigError, FerEdgeError
from tests import command
from tests.result_document import EXAMPLES, assert_alike, check_document
from tests.tiny import tiny_bundle
from tests.video.clips import grey_frames, write_clip

FACE = (165, 70, 120, 120)  # of the astronaut


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.fer")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with a photograph of a face, and a small picture without one."""
    (tmp_path / "photos" / "below").mkdir(parents=True)
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photos" / "astronaut.png")
    Image.linear_gradient("L").resize((64, 64)).save(tmp_path / "photos" / "below" / "grey.bmp")
    return tmp_path / "photos"


def predict(images: Any, bundle: Path, **options: Any) -> list[ImageResult]:
    return [*fer_edge.predict(images, bundle=bundle, engine="onnxruntime", threads=1, **options)]


@pytest.mark.usefixtures("networks")
def test_faces_are_found_and_copies_annotated(photos: Path, tmp_path: Path) -> None:
    with_face, without = predict(photos, Path("edge"), save=tmp_path / "copies")
    (face,) = with_face.faces
    assert face.box is not None and face.face is not None and face.face.score > 0.5
    assert face.expression.label == "happiness" and face.expression.certain and face.notes == ()
    assert np.allclose(face.box, (169, 62, 112, 112), atol=6)
    data = json.loads(with_face.to_json())
    check_document(data)
    assert data["size"] == [512, 512] and data["copy"] == str(with_face.copy)
    assert data["people"][0] == face.to_dict() and data["people"][0]["expression"] == face.expression.to_dict()
    assert np.allclose(data["people"][0]["face"]["points"], face.face.points, atol=0.006)
    assert_alike(EXAMPLES[0], {name: data[name] for name in EXAMPLES[0]} | {"source": "photo.jpg"})
    check_document(without.to_dict())
    assert without.to_dict()["hint"] == without.hint
    assert (without.faces, without.error) == ((), "")
    assert without.hint == "no face found; if the image is a face crop, use --crop"
    assert [result.copy for result in (with_face, without)] == [
        tmp_path / "copies" / "astronaut.png",
        tmp_path / "copies" / "below" / "grey.png",
    ]
    with Image.open(tmp_path / "copies" / "astronaut.png") as copy:
        changed = np.abs(np.asarray(copy, int) - skimage.data.astronaut()).max(axis=2) > 0
    rows, columns = np.nonzero(changed)
    left, top, width, height = face.box
    assert left - 4 <= columns.min() and columns.max() <= left + width + 40  # the name may be wider than the box
    assert top - 40 <= rows.min() and rows.max() <= top + height + 4


@pytest.mark.usefixtures("networks")
def test_command_prints_faces_and_hints(photos: Path, bundle: Path) -> None:
    result = command.fer_edge("predict", photos, "--bundle", bundle, "--engine", "onnxruntime", "--detail", "fast")
    assert result.returncode == 0, result.stderr
    heading, face, none = (line.split() for line in result.stdout.splitlines())
    assert heading == ["face", "expression", "score", "box", "note", "image"]
    assert face[0] == "1" and face[-1].endswith("astronaut.png") and len(face[3].split(",")) == 4
    assert none[:5] == ["-", "no", "face", "-", "-"]
    assert result.stderr.splitlines() == [
        f"{photos / 'below' / 'grey.bmp'}: no face found; if the image is a face crop, use --crop"
    ]


def test_missing_face_networks_are_refused_with_the_command(
    photos: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_edge import shipped

    monkeypatch.setattr(shipped, "_entries", lambda place: iter(()))
    result = command.fer_edge("predict", photos, "--bundle", bundle)
    assert result.returncode == 2 and result.stderr == (
        "error: the face networks are not installed; in the clone of fer-edge run: python scripts/fetch_faces.py\n"
    )


def test_boxes_of_a_file(photos: Path, bundle: Path, tmp_path: Path) -> None:
    rows: list[list[object]]
    rows = [["astronaut.png", *FACE], ["astronaut.png", 300, 100, 60, 60], ["other.jpg", 1, 1, 9, 9]]
    columns: list[object] = ["file", "x", "y", "width", "height"]
    (tmp_path / "boxes.csv").write_text("\n".join(",".join(map(str, row)) for row in ([*columns], *rows)))
    (tmp_path / "boxes.json").write_text(json.dumps([dict(zip(columns, row, strict=True)) for row in rows]))
    for name in ("boxes.csv", "boxes.json"):
        predictions = fer_edge.predict(photos, bundle=bundle, boxes=tmp_path / name, engine="onnxruntime")
        first, second = predictions
        assert [face.box for face in first.faces] == [FACE, (300, 100, 60, 60)]
        assert (second.faces, second.hint) == ((), "no box in the file of boxes")
        assert predictions.notes() == ["boxes of 1 files match no image, such as other.jpg"]
    boxed, same = predict([photos / "astronaut.png"] * 2, bundle, box=FACE)
    check_document(boxed.to_dict())
    assert boxed.to_dict()["people"][0]["face"] == {"box": [*FACE], "score": None, "points": None, "tilt": None}
    assert boxed.faces[0].expression == first.faces[0].expression == same.faces[0].expression


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,x,y\na.jpg,1,2", "box 1 has no width, height; expected a CSV file with the columns file, x, y"),
        ("file,x,y,width,height\na.jpg,1,2,3,z", "box 1 has x '1', y '2', width '3', height 'z'; expected four finite"),
        ('[{"file": "a.jpg", "x": 1, "y": 1, "width": NaN, "height": 3}]', "box 1 has x 1, y 1, width nan"),
        ('{"a.jpg": [1, 2, 3, 4]}', "is JSON of another form; expected a CSV file"),
        ("[1", "is not JSON"),
        (f'[{{"file": "a.jpg", "x": {10**400}, "y": 1, "width": 2, "height": 3}}]', "expected four finite numbers"),
        (f"file\n{'a' * 200_000}", "is not CSV: field larger than field limit"),
        ("", "contains no boxes"),
        ("file,x,y,width,height\ngrey.png,1,2,30,30", r"grey.png matches .*a/grey.png and .*b/grey.png; write more"),
    ],
)
def test_wrong_file_of_boxes_is_refused(text: str, message: str, bundle: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (64, 64)).save(tmp_path / name / "grey.png")
    (tmp_path / "boxes").write_text(text)
    with pytest.raises(ConfigError, match=message):
        fer_edge.predict([tmp_path / "a", tmp_path / "b"], bundle=bundle, boxes=tmp_path / "boxes")


def test_second_place_of_the_face_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="crop and box are set; each gives the place of the faces"):
        fer_edge.predict(photos, crop=True, box=FACE)
    result = command.fer_edge("predict", photos, "--crop", "--detail", "fine")
    assert result.returncode == 2 and "--detail applies only to the search for faces" in result.stderr


def test_copies_never_replace_images(photos: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the output .*astronaut.png is also an input"):
        predict(photos, bundle, crop=True, save=photos)
    twice = predict([photos / "astronaut.png", photos], bundle, crop=True, save=tmp_path / "copies")
    assert [result.copy and result.copy.name for result in twice] == ["astronaut.png", "astronaut.png", "grey.png"]
    (photos / "below" / "astronaut.JPG").write_bytes((photos / "astronaut.png").read_bytes())
    (photos / "below" / "astronaut.png").write_bytes((photos / "astronaut.png").read_bytes())
    files = [photos / "astronaut.png", photos / "below" / "astronaut.png", photos / "below" / "astronaut.JPG"]
    names = [result.copy and result.copy.name for result in predict(files, bundle, crop=True, save=tmp_path / "other")]
    assert names == ["astronaut.png", "astronaut-2.png", "astronaut.JPG"]
    with Image.open(tmp_path / "other" / "astronaut.JPG") as copy:
        assert copy.format == "JPEG" and copy.size == (512, 512)
    (tmp_path / "file").write_text("")
    with pytest.raises(FerEdgeError, match="cannot make the folder"):
        predict(photos, bundle, crop=True, save=tmp_path / "file")


def test_video_is_refused_with_the_command_for_it(bundle: Path, tmp_path: Path) -> None:
    (result,) = predict(write_clip(tmp_path / "clip.mp4", grey_frames(1)), bundle, crop=True)
    assert result.error.endswith("but an MP4 or other ISO media file; videos are read by fer-edge analyse")


def test_standard_input_without_an_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    for stdin, message in ((Terminal(), "standard input is a terminal; expected an image: fer-edge"), (None, "closed")):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(Exception, match=message):
            standard_input()


def test_missing_path_is_an_item_with_an_error(photos: Path) -> None:
    items, left_out = list_images([photos, photos / "none.png"])
    assert [(item.path.name, bool(item.error)) for item in items] == [
        ("astronaut.png", False),
        ("grey.bmp", False),
        ("none.png", True),
    ]
    assert not left_out
