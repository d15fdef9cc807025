"""Coverage-guided fuzzing of one reader by Atheris, which drives libFuzzer.

    scripts/fuzz bundle --minutes 60

Inputs that reach new code are kept in build/fuzz/TARGET, and the next run goes on from them. An input that ends in
another error than one of fer-edge, takes longer than 10 seconds or needs more than 2 GiB is a fault: it ends the run and
is kept in build/fuzz/faults. Put it into tests/fuzzing/corpus/TARGET with the mended code, where the tests read it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

SECONDS_PER_INPUT, MEMORY_MB = 10, 3072  # PyTorch alone maps half a GB
BUILD = Path(__file__).parents[2] / "build" / "fuzz"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz a target; libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["fer_edge"], enable_loader_override=False):
        from tests.fuzzing.targets import TARGETS

        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("target", choices=TARGETS)
        parser.add_argument("--minutes", type=float, default=10.0, help="length in minutes, default 10")
        parser.add_argument("--seed", type=int, default=1, help="seed of the mutations, default 1")
        options = parser.parse_args(arguments)
        target = TARGETS[options.target]
        corpus, faults = BUILD / target.name, BUILD / "faults"
        for folder in (corpus, faults):
            folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(target.inputs()):
            (corpus / f"seed-{number}").write_bytes(data)
            target.run(data)  # imports all that is imported late, with instrumentation
    settings = [
        f"-max_total_time={max(1, round(60 * options.minutes))}",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={target.max_bytes}",
        f"-seed={options.seed}",
        f"-artifact_prefix={faults}/{target.name}-",
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
