"""Measure what each output of `fer-edge live --to` costs per frame: time of `send`, and CPU time of all threads.

    PYTHONPATH=. .venv/bin/python benchmarks/live_outputs.py

Frames of one person arrive 30 times a second; once a second the label changes. Outputs are measured in turns, and their
receivers run in processes of their own. The CPU time is that of this process, minus that of a loop without an output;
of all outputs except osc and the page, it contains the result document.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import in_process
from fer_edge.benchmark.noise import NoiseMonitor
from fer_edge.benchmark.rows import Row
from fer_edge.live import Output, Update
from fer_edge.live.outputs import make_output
from fer_edge.live.server import PageServer
from fer_edge.results import Table
from fer_edge.tables import text_of_table
from fer_edge.video import SourceState, VideoFrame
from tests.live.outputs.updates import LABELS, person

RATE = 30  # frames a second
SOCKET = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1], compression=None) as connection:
    print(flush=True)
    for _ in connection:
        pass
"""
EVENTS = """
import sys
from urllib.request import urlopen
with urlopen(sys.argv[1]) as answer:
    print(flush=True)
    while answer.readline():
        pass
"""
WEBHOOK = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(flush=True)
server.serve_forever()
"""


@contextmanager
def receiver(code: str, *arguments: object) -> Iterator[None]:
    """Run a receiver in a process of its own; it prints a line when it is ready."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError(f"the receiver of {arguments[0]} did not start")
            yield
        finally:
            process.terminate()


@contextmanager
def silent_port() -> Iterator[int]:
    """Bind a UDP port from which nothing is read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        yield receiver.getsockname()[1]


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Nothing(Output):
    """Output that does nothing."""

    def send(self, update: Update) -> None:
        pass


class Document(Output):
    """Output that makes the result document as JSON, and drops it."""

    def send(self, update: Update) -> None:
        len(update.json)


@dataclass
class Contender:
    """Output to measure.

    Attributes:
        name: Name in the table.
        output: The output.
        receiver: Receiver that runs during the measurement, once the output is open.
        sends: Duration of each `send` in nanoseconds.
        cpu: CPU time per frame of each round in milliseconds.
    """

    name: str
    output: Output
    receiver: Callable[[], AbstractContextManager[None]] = nullcontext
    sends: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self, frames: int) -> None:
        """Send frames at their rate."""
        start, cpu = time.monotonic(), time.process_time()
        for number in range(frames):
            time.sleep(max(start + number / RATE - time.monotonic(), 0))
            update = update_of(number)
            begin = time.perf_counter_ns()
            self.output.send(update)
            self.sends.append(time.perf_counter_ns() - begin)
        time.sleep(max(start + frames / RATE - time.monotonic(), 0))
        self.cpu.append(1000 * (time.process_time() - cpu) / frames)


def update_of(number: int) -> Update:
    """Return the update of a frame of 640 x 480 with one person."""
    face = person(1, LABELS[number // RATE % len(LABELS)])
    frame = VideoFrame(np.empty((480, 640, 3), np.uint8), number / RATE, 0, number)
    return Update([face], number / RATE, frame, 0.01, RATE, SourceState(live=True), "a camera")


def contenders(folder: Path, osc: int) -> Iterator[Contender]:
    """Yield all outputs.

    Args:
        folder: Folder of files.
        osc: UDP port.
    """

    def make(target: str) -> Output:
        return make_output(target, LABELS, print)

    yield Contender("nothing", Nothing())
    yield Contender("result document alone", Document())
    yield Contender("page, not open", PageServer())
    yield Contender("osc, VRChat", make(f"osc://127.0.0.1:{osc}?app=vrchat"))
    yield Contender("osc, VMC", make(f"osc://127.0.0.1:{osc}?app=vmc"))
    port = free_port()
    yield Contender("ws", make(f"ws://127.0.0.1:{port}"), lambda: receiver(SOCKET, f"ws://127.0.0.1:{port}"))
    events = free_port()
    yield Contender(
        "http, /events",
        make(f"http://127.0.0.1:{events}"),
        lambda: receiver(EVENTS, f"http://127.0.0.1:{events}/events"),
    )
    hook = free_port()
    webhook = make(f"webhook+http://127.0.0.1:{hook}/?min_seconds=0")
    yield Contender("webhook, one change a second", webhook, lambda: receiver(WEBHOOK, hook))
    for suffix in (".jsonl", ".csv", ".parquet", ".mcap"):
        yield Contender(suffix, make(str(folder / f"out{suffix}")))


def run(rounds: int, frames: int) -> list[Contender]:
    """Measure all outputs in turns.

    Args:
        rounds: Number of turns of each output.
        frames: Number of frames of a turn.
    """
    with tempfile.TemporaryDirectory() as folder, silent_port() as osc, ExitStack() as stack:
        everyone = [*contenders(Path(folder), osc)]
        for contender in everyone:
            stack.callback(contender.output.close)
            contender.output.open("a camera")
        for _ in range(rounds):
            for contender in everyone:
                with contender.receiver():
                    contender.measure(frames)
    return everyone


def main() -> None:
    """Print the table, and write it as CSV if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="number of turns of each output")
    parser.add_argument("--frames", type=int, default=150, help="number of frames of a turn")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    with NoiseMonitor() as monitor:
        nothing, *others = run(options.rounds, options.frames)
    base = float(np.median(nothing.cpu))
    lines: list[tuple[object, ...]] = []
    rows: list[Row] = []
    for contender in others:
        p50, p99 = np.percentile(contender.sends, (50, 99)) / 1e3
        cpu, low, high = (
            float(value) - base for value in (np.median(contender.cpu), min(contender.cpu), max(contender.cpu))
        )
        lines.append((contender.name, f"{p50:.0f}", f"{p99:.0f}", f"{cpu:.2f}", f"{low:.2f} to {high:.2f}"))
        rows.append(Row("live outputs", contender.name, "send p50", "us", float(p50)))
        rows.append(Row("live outputs", contender.name, "send p99", "us", float(p99)))
        rows.append(Row("live outputs", contender.name, "CPU per frame", "ms", cpu, low, high))
    print(
        text_of_table(
            Table("", ("output", "send p50 us", "p99 us", "CPU ms a frame", "range of rounds"), tuple(lines)), 80
        )
    )
    in_process.finish(rows, {"rounds": options.rounds, "frames": options.frames}, monitor, options.csv)


if __name__ == "__main__":
    main()
