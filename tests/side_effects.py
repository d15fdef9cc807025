"""What commands do beside giving their result, by the system calls that they make: a table, or a value for tests.

`scripts/side-effects` prints the table. It needs Linux with strace.
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
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)(?:<([^>]*)>)?, )?"((?:[^"\\]|\\.)*)"')  # with the folder that it starts from
DEVICES = ("/dev/null", "/dev/tty")  # written to, but nothing is kept


@dataclass(frozen=True)
class Effects:
    """What a command did."""

    status: int
    stdout: str
    stderr: str
    changed: frozenset[Path]  # what was opened for writing, made, renamed, linked or removed
    sockets: frozenset[str]  # calls that have to do with the internet

    def unasked(self, written: Path) -> list[str]:
        """List all but changes below the folder of what the command is asked to write."""
        files = {str(path) for path in self.changed if not path.is_relative_to(written)}
        return sorted(files | self.sockets)


def watch(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Effects:
    """Run a command in a home, temporary and working folder of its own.

    Args:
        command: Program and arguments.
        folder: Empty folder; `home`, `tmp` and `work` are made in it.
        environment: Further variables. Of the present ones, only what finds programs and limits threads is kept.
    """
    home, temporary, work, calls = (folder / name for name in ("home", "tmp", "work", "calls"))
    for path in (home, temporary, work, calls):
        path.mkdir(parents=True)
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS") if name in os.environ}
    traced = ",".join(("network", *OPENING, *CHANGING))
    ran = subprocess.run(
        # One file for each thread, so that no call's line is broken by another's.
        ["strace", "-ff", "-qq", "-y", "-s", "4096", "-e", f"trace={traced}", "-o", str(calls / "of"), *command],
        cwd=work,
        env={
            **kept,
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
    return Effects(ran.returncode, ran.stdout, ran.stderr, changed, sockets)


def _changed(line: str, work: Path) -> Iterator[Path]:
    """Paths that a call changes, if it succeeds; relative ones start from `work` where no other folder is named."""
    match = CALL.match(line)
    if match is None or int(match[3]) < 0:
        return
    if match[1] in CHANGING or (match[1] in OPENING and (match[1] == "creat" or FOR_WRITING.search(match[2]))):
        for folder, path in PATH.findall(match[2]):
            if path not in DEVICES:
                yield Path(folder or work) / path


def cases(inputs: Path) -> dict[str, list[str]]:
    """Make the watched commands, as arguments of Python, for every engine that is installed here.

    Args:
        inputs: Folder for a bundle and labelled images; what a command is asked to write goes to `written` in it.
    """
    (inputs / "written").mkdir()
    bundle = str(tiny_bundle(inputs / "tiny.fer"))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for label in LABELS:
        (inputs / "faces" / label).mkdir(parents=True)
        Image.fromarray(pixels).save(inputs / "faces" / label / "face.png")
    faces, face = str(inputs / "faces"), str(inputs / "faces" / LABELS[0] / "face.png")
    fer_edge = ["-m", "fer_edge"]
    found = {"import": ["-c", "import fer_edge"], "doctor": [*fer_edge, "doctor", "--json"]}
    quick = ["--scenario", "single-stream", "--seconds", "0.1", "--queries", "10", "--threads", "1"]
    for engine in ("openvino", "onnxruntime"):
        if not engine_status(engine).can_run:
            continue
        on = ["--engine", engine, "--json"]
        found[f"predict {engine}"] = [*fer_edge, "predict", face, "--model", bundle, *on]
        found[f"evaluate {engine}"] = [*fer_edge, "evaluate", bundle, faces, *on]
        found[f"bench {engine}"] = [*fer_edge, "bench", bundle, *quick, *on]
    for engine in ("tensorrt", "tensorrt-rtx"):
        if engine_status(engine).can_build:
            out = str(inputs / "written" / f"{engine}.fer")
            found[f"add-engine {engine}"] = [
                *fer_edge,
                "bundle",
                "add-engine",
                bundle,
                "--engine",
                engine,
                "-o",
                out,
                "--json",
            ]
    return found


def main() -> int:
    """Print what each command did; returns 1 if one did more than it should."""
    if shutil.which("strace") is None:
        print("strace is missing; on Debian or Ubuntu: apt-get install strace", file=sys.stderr)
        return 2
    failed = False
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        print(f"{'command':<24}{'exit':>5}{'files':>7}{'sockets':>9}  not asked for")
        for index, (title, arguments) in enumerate(cases(inputs).items()):
            effects = watch([sys.executable, *arguments], Path(name) / str(index))
            unasked = effects.unasked(inputs / "written")
            sockets = len(effects.sockets)
            print(f"{title:<24}{effects.status:>5}{len(unasked) - sockets:>7}{sockets:>9}")
            for line in unasked:
                print(f"    {line}")
            failed |= effects.status != 0 or bool(unasked)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
