"""Programs that use the installed library: the examples in C and C++, and FerEdge.cs under Mono."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from fer_edge import Recognizer
from fer_edge.faces.face import TARGET, Face
from fer_edge.shipped import shipped_bundle
from tests.native.library import (
    SANITIZERS,
    SOURCE,
    Library,
    NativeError,
    configure,
    has_onnxruntime,
    plain_environment,
    require_mono,
    run,
    runtime_library,
)

HERE = Path(__file__).parent
ASTRONAUT = skimage.data.astronaut()
BOX = ("165", "70", "120", "120")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_onnxruntime(), reason="needs the header of ONNX Runtime: scripts/test-native"),
]


@pytest.fixture(scope="module")
def package(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the build of the package, for ONNX Runtime alone, and its examples."""
    folder = tmp_path_factory.mktemp("package")
    configure(folder, "-DFER_EDGE_STATIC_DEPENDENCIES=ON", "-DFER_EDGE_EXAMPLES=ON")
    run("cmake", "--build", folder)
    return folder


@pytest.fixture(scope="module")
def prefix(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the unpacked package, and ONNX Runtime beside the library."""
    folder = tmp_path_factory.mktemp("prefix")
    run("cpack", "-B", folder, folder=package)
    (archive,) = folder.glob("*.tar.gz")
    run("tar", "-xf", archive, "-C", folder, "--strip-components=1")
    (folder / "lib" / "libonnxruntime.so.1").symlink_to(runtime_library())
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(ASTRONAUT).save(tmp_path / "photo.ppm")
    return tmp_path / "photo.ppm"


@pytest.mark.skipif(bool(SANITIZERS), reason="a program without the sanitizers' run-time cannot load the library")
def test_programs_build_against_the_package(prefix: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    run("cmake", "-S", SOURCE / "examples", "-B", folder, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", folder)
    assert run(folder / "recognize_ppm", shipped_bundle(), photo, *BOX).startswith("happiness, score ")
    assert run(folder / "faces_in_threads", shipped_bundle(), "3").count("neutral, neutral") == 3
    environment = {"PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"}
    flags = run("pkg-config", "--cflags", "--libs", "fer_edge", environment=environment).split()
    program = tmp_path / "program"
    run("cc", "-o", program, SOURCE / "examples" / "recognize_ppm.c", *flags, f"-Wl,-rpath,{prefix}/lib")
    assert run(program, shipped_bundle(), photo, *BOX).startswith("happiness, score ")


def test_package_needs_no_other_library(prefix: Path) -> None:
    names = {path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if not path.is_dir()}
    assert {
        "include/fer_edge.h",
        "lib/libfer_edge.so",
        "share/fer_edge/FerEdge.cs",
        "lib/pkgconfig/fer_edge.pc",
    } <= names
    assert {"share/doc/fer_edge/LICENSE", "share/doc/fer_edge/THIRD-PARTY-LICENSES"} <= names
    if not SANITIZERS:
        needed = run("readelf", "-d", prefix / "lib" / "libfer_edge.so")
        assert set(re.findall(r"\(NEEDED\).*\[(.*)\]", needed)) <= {"libc.so.6", "libm.so.6"}
        symbols = run("nm", "-D", "--defined-only", prefix / "lib" / "libfer_edge.so").split()[2::3]
        assert len(symbols) == 13 and all(symbol.startswith("fer_") for symbol in symbols)


def test_package_without_signatures_opens_nothing_by_key(prefix: Path) -> None:
    library = Library(prefix / "lib" / "libfer_edge.so", ["onnxruntime"])
    with pytest.raises(NativeError, match="this library is built without signatures; build it with -DFER_EDGE_SIGN"):
        library.open_signed(b"bundle", b"key", b"signature")


def test_example_leaks_nothing_and_writes_no_file(
    package: Path, prefix: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With AddressSanitizer, a leak fails the program."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    environment = {"HOME": str(home), "LD_LIBRARY_PATH": f"{prefix}/lib", "ASAN_OPTIONS": "detect_leaks=1"}
    program = package / "examples" / "recognize_ppm"
    assert run(program, shipped_bundle(), photo, *BOX, environment=environment).startswith("happiness, score ")
    for arguments in ((shipped_bundle(), photo, "0", "0", "0", "0"), (photo, photo)):
        message = failure(program, *arguments, environment=environment)
        assert len(message.splitlines()) == 1, message
    assert not list(home.rglob("*"))


def test_missing_onnxruntime_is_reported(package: Path, photo: Path) -> None:
    message = failure(package / "examples" / "recognize_ppm", shipped_bundle(), photo)
    assert message.startswith("ONNX Runtime cannot be loaded; put its library (libonnxruntime.so.1, ")


def failure(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """Return what a command prints that fails."""
    result = subprocess.run(
        command, env=plain_environment() | dict(environment or {}), capture_output=True, text=True, check=False
    )
    assert result.returncode == 1, result
    return result.stderr


def test_script_for_unity_compiles(tmp_path: Path) -> None:
    """It compiles against declarations of Unity's classes; Unity itself cannot be installed."""
    require_mono()
    sources = [SOURCE / "csharp" / "FerEdge.cs", SOURCE / "csharp" / "WebcamExpression.cs", HERE / "unity.cs"]
    run("mcs", "-langversion:7", "-warnaserror", "-target:library", f"-out:{tmp_path}/script.dll", *sources)


@pytest.mark.data
@pytest.mark.skipif(bool(SANITIZERS), reason="Mono does not run under AddressSanitizer")
def test_csharp_has_the_expressions_of_python(library: Library, prefix: Path, ferplus: Path, tmp_path: Path) -> None:
    require_mono()
    paths = sorted((ferplus / "FER2013Valid").glob("*.png"))[:64]
    frames = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    (tmp_path / "frames").write_bytes(frames.tobytes())
    run(
        "mcs",
        "-langversion:7",
        f"-out:{tmp_path}/check.exe",
        HERE / "check.cs",
        prefix / "share/fer_edge/FerEdge.cs",
    )
    environment = {"LD_LIBRARY_PATH": f"{prefix}/lib", "LC_ALL": "C.UTF-8"}
    side = frames.shape[1]
    command = ("mono", tmp_path / "check.exe", shipped_bundle(), tmp_path / "frames", str(len(frames)), str(side))
    lines = run(*command, environment=environment).splitlines()
    points = np.insert(TARGET, 2, (56.0, 60.0), axis=0) * (side / 112)
    faces = [None, (0, 0, side, side), Face((0, 0, side, side), 1.0, points)]
    with Recognizer.open(engine=library.engines[0], threads=1) as python:
        expected = [python.recognize(frame) for frame in frames] + [
            python.recognize(frames[-1], face) for face in faces
        ]
    for expression, line in zip(expected, lines, strict=False):
        label, score, certainty, warnings = line.split(maxsplit=3)
        assert label == expression.label and float(score) == pytest.approx(expression.score, abs=1e-6)
        assert (certainty == "certain") == expression.certain and (warnings == "None") == (not expression.warning)
    assert lines[len(expected) :] == [
        "1 face 0 of 1 (counted from 0): box (0, 0, 0, 0) is empty; expected a positive width and height in pixels",
        "closed",
        "2 néant.fer cannot be read: No such file or directory; expected a bundle (.fer)",
    ]
