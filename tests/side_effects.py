"""Side effects of commands, from their system calls; `scripts/side-effects` prints them as a table.

Needs Linux with strace.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from fer_edge.engines.registry import engine_status
from tests.tiny import LABELS, tiny_bundle

ROOT = Path(__file__).parents[1]
OPENING = ("open", "openat", "openat2", "creat")
CHANGING = (
    *(
        "mkdir",
        "mkdirat",
        "mknod",
        "mknodat",
        "rename",
        "renameat",
        "renameat2",
        "link",
        "linkat",
        "symlink",
        "symlinkat",
    ),
    *("unlink", "unlinkat", "rmdir", "truncate"),
)
FOR_WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)")
CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)")
PATH = re.compile(
    r'(?:(?:AT_FDCWD|\d+)(?:<([^>]*)>)?, )?"((?:[^"\\]|\\.)*)"'
)  # group 1: the folder that a relative path starts from
DEVICES = ("/dev/null", "/dev/tty")  # writes to these leave nothing behind


@dataclass(frozen=True)
class Effects:
    """Result and side effects of a command."""

    status: int
    stdout: str
    stderr: str
    changed: frozenset[Path]  # paths opened for writing, created, renamed, linked or removed
    sockets: frozenset[str]  # system calls on internet sockets

    def unexpected(self, output: Path) -> list[str]:
        """List the side effects, without changes below the command's output folder."""
        files = {str(path) for path in self.changed if not path.is_relative_to(output)}
        return sorted(files | self.sockets)


def trace(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Effects:
    """Run a command with new home, temporary and working folders, and record its system calls.

    Args:
        command: Program and arguments.
        folder: Empty folder, in which `home`, `tmp` and `work` are created.
        environment: Additional environment variables. The current ones are dropped, except those that locate programs
            and limit threads.
    """
    home, temporary, work, calls = (folder / name for name in ("home", "tmp", "work", "calls"))
    for path in (home, temporary, work, calls):
        path.mkdir(parents=True)
    inherited = {
        name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS") if name in os.environ
    }
    traced = ",".join(("network", *OPENING, *CHANGING))
    process = subprocess.run(
        # One file per thread: in a common file, lines of several threads would be interleaved.
        ["strace", "-ff", "-qq", "-y", "-s", "4096", "-e", f"trace={traced}", "-o", str(calls / "of"), *command],
        cwd=work,
        env={
            **inherited,
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(environment or {}),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for file in calls.iterdir() for line in file.read_text(errors="replace").splitlines()]
    changed = frozenset(path for line in lines for path in _changed(line, work))
    sockets = frozenset(line for line in lines if re.match(r"\w+\(.*\bAF_INET", line))
    return Effects(process.returncode, process.stdout, process.stderr, changed, sockets)


def _changed(line: str, work: Path) -> Iterator[Path]:
    """List the paths that a successful call changes; relative paths start from its folder, or else from `work`."""
    match = CALL.match(line)
    if match is None or int(match[3]) < 0:
        return
    if match[1] in CHANGING or (match[1] in OPENING and (match[1] == "creat" or FOR_WRITING.search(match[2]))):
        for folder, path in PATH.findall(match[2]):
            if path not in DEVICES:
                yield Path(folder or work) / path


def cases(inputs: Path) -> dict[str, list[str]]:
    """Return the commands to trace, as arguments of Python, for every installed engine.

    Args:
        inputs: Folder for a bundle and labelled images; commands write their output to its subfolder `output`.
    """
    (inputs / "output").mkdir()
    bundle = str(tiny_bundle(inputs / "tiny.fer"))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for label in LABELS:
        (inputs / "faces" / label).mkdir(parents=True)
        Image.fromarray(pixels).save(inputs / "faces" / label / "face.png")
    Image.fromarray(skimage.data.astronaut()).save(inputs / "photo.png")
    faces, photo = str(inputs / "faces"), str(inputs / "photo.png")
    fer_edge = ["-m", "fer_edge"]
    commands = {"import": ["-c", "import fer_edge"], "doctor": [*fer_edge, "doctor", "--json"]}
    quick = ["--scenario", "single-stream", "--seconds", "0.1", "--queries", "10", "--threads", "1"]
    for engine in ("openvino", "onnxruntime"):
        if not engine_status(engine).can_run:
            continue
        on = ["--engine", engine, "--json"]
        commands[f"predict {engine}"] = [*fer_edge, "predict", photo, *on]
        commands[f"evaluate {engine}"] = [*fer_edge, "evaluate", bundle, faces, *on]
        commands[f"bench {engine}"] = [*fer_edge, "bench", bundle, *quick, *on]
    for engine in ("tensorrt", "tensorrt-rtx"):
        if engine_status(engine).can_build:
            out = str(inputs / "output" / f"{engine}.fer")
            arguments = ["bundle", "add-engine", bundle, "--engine", engine, "--out", out, "--json"]
            commands[f"add-engine {engine}"] = [*fer_edge, *arguments]
    return commands


def main() -> int:
    """Print the side effects of each command; return 1 if a command failed or has side effects."""
    if shutil.which("strace") is None:
        print("strace is missing; on Debian or Ubuntu: apt-get install strace", file=sys.stderr)
        return 2
    failed = False
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        print(f"{'command':<24}{'exit':>5}{'files':>7}{'sockets':>9}  side effects")
        for index, (title, arguments) in enumerate(cases(inputs).items()):
            effects = trace([sys.executable, *arguments], Path(name) / str(index))
            unexpected = effects.unexpected(inputs / "output")
            sockets = len(effects.sockets)
            print(f"{title:<24}{effects.status:>5}{len(unexpected) - sockets:>7}{sockets:>9}")
            for line in unexpected:
                print(f"    {line}")
            failed |= effects.status != 0 or bool(unexpected)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
