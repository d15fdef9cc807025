"""Coverage-guided fuzzing of one reader by Atheris, which drives libFuzzer.

    scripts/fuzz bundle --minutes 60

Inputs that reach new code are kept in build/fuzz/TARGET, and the next run goes on from them. An input that ends in
another error than one of fer-edge, takes longer than 10 seconds or needs more than 3 GiB is a fault: it ends the run
and is kept in build/fuzz/faults. Put it into tests/fuzzing/corpus/TARGET with the mended code, where the tests read it.
`--minimise` puts the smallest inputs there that reach lines which the seeds do not reach.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzzing.targets import CORPUS, TARGETS, Target

TraceFunction = Callable[[FrameType, str, Any], Any]

SECONDS_PER_INPUT, MEMORY_MB = 10, 3072  # PyTorch alone maps half a GB
BUILD = Path(__file__).parents[2] / "build" / "fuzz"


def lines_of(target: Target, data: bytes) -> set[tuple[str, int]]:
    """Return the lines of fer-edge that an input reaches."""
    lines: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        if "fer_edge" not in frame.f_code.co_filename:
            return None
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        target.run(data)
    finally:
        sys.settrace(None)
    return lines


def minimise(target: Target, folder: Path) -> list[Path]:
    """Copy the inputs of a folder that reach further lines into the repository, the smallest first.

    Args:
        target: Target.
        folder: Folder of a run.

    Returns:
        Paths of the copies.
    """
    reached = set[tuple[str, int]]().union(*(lines_of(target, data) for data in [*target.inputs()] * 2))
    copies = []
    for data in sorted({path.read_bytes() for path in folder.iterdir()}, key=lambda data: (len(data), data)):
        lines = lines_of(target, data)
        if not lines <= reached:
            reached |= lines
            copies.append(CORPUS / target.name / f"{hashlib.sha256(data).hexdigest()[:12]}{target.suffix}")
            copies[-1].parent.mkdir(exist_ok=True)
            copies[-1].write_bytes(data)
    return copies


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz a target; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10.0, help="length in minutes, default 10")
    parser.add_argument("--seed", type=int, default=1, help="seed of the mutations, default 1")
    parser.add_argument("--minimise", action="store_true", help="copy useful inputs of earlier runs, and end")
    options = parser.parse_args(arguments)
    target, corpus = TARGETS[options.target], BUILD / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    if options.minimise:
        print(*minimise(target, corpus), sep="\n")
        return 0
    import atheris

    (BUILD / "faults").mkdir(exist_ok=True)
    with atheris.instrument_imports(include=["fer_edge"], enable_loader_override=False):
        for number, data in enumerate(target.inputs()):
            if len(data) <= target.max_bytes:
                (corpus / f"seed-{number}").write_bytes(data)
            target.run(data)  # imports all that is imported late, with instrumentation
    settings = [
        f"-max_total_time={max(1, round(60 * options.minutes))}",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={target.max_bytes}",
        f"-seed={options.seed}",
        f"-artifact_prefix={BUILD}/faults/{target.name}-",
        "-print_final_stats=1",
    ]
    if target.wanted:
        words = BUILD / f"{target.name}.dict"
        words.write_text("".join(f'"{word}"\n' for word in target.wanted))
        settings.append(f"-dict={words}")
    atheris.Setup([sys.argv[0], *settings, str(corpus)], lambda data: target.run(data) and None)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
