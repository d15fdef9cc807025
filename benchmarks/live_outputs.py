"""Measure outputs of `fer-edge live --to`: time of `send`, latency at the receiver, and CPU time per frame.

    PYTHONPATH=. .venv/bin/python benchmarks/live_outputs.py

Frames with one person arrive 30 times a second, as from a camera; no model runs. Once a second another person comes,
which a webhook reports. Outputs are measured in turns. The latency is the time from `send` to a receiver in a process
of its own; VRChat receives ten messages a second. The CPU time is that of all threads of this process, minus that of a
loop without an output; for all outputs except those of avatars, it contains the result document.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from benchmarks import in_process
from fer_edge.benchmark.noise import NoiseMonitor
from fer_edge.benchmark.rows import Row
from fer_edge.live import Output, Update
from fer_edge.live.outputs import make_output
from fer_edge.results import Table
from fer_edge.tables import text_of_table
from fer_edge.video import SourceState, VideoFrame
from tests.live.outputs.updates import LABELS, person

RATE = 30  # frames a second
SETTLE_SECONDS = 0.2  # for threads and receivers after the last frame
FIRST_SCORE, STEP = 0.6, 0.001  # the score of an avatar identifies a frame
MAX_FRAMES = 390
MAPPING = f'hold = 0\nfade = 0\n[[floats]]\nname = "Mark"\nweights = {{{LABELS[1]} = 1}}\n'
FRAME = np.zeros((480, 640, 3), np.uint8)


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
        target: Target with places for port, folder and mapping; empty for an output of this module.
        reader: Kind of receiver: a key of `RECEIVERS`; empty for files.
        sends: Duration of each `send` in microseconds.
        latencies: Time from `send` to the receiver of each frame that arrived, in milliseconds.
        cpu: CPU time per frame of each turn in milliseconds.
    """

    name: str
    target: str = ""
    reader: str = ""
    sends: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self, folder: Path, frames: int) -> None:
        """Open the output and its receiver, and send frames at their rate.

        Args:
            folder: Folder for files, with the mapping of avatars.
            frames: Number of frames.
        """
        port = free_port(self.reader)
        lines: list[str] = []
        with ExitStack() as stack:
            if self.reader in ("osc", "webhook"):
                lines = stack.enter_context(receiving(self.reader, port))
            output = self._make(port, folder)
            stack.callback(output.close)
            output.open("a camera")
            if self.reader in ("ws", "events"):  # the output is the server
                lines = stack.enter_context(receiving(self.reader, port))
            starts = self._send(output, frames)
            output.close()
        first: dict[int, float] = {}
        for index, moment in (line.split() for line in lines):
            first.setdefault(int(index), float(moment))
        self.latencies += (1e3 * (moment - starts[index]) for index, moment in first.items())

    def _make(self, port: int, folder: Path) -> Output:
        if not self.target:
            return {"nothing": Nothing, "document": Document}[self.name]()
        return make_output(self.target.format(port=port, folder=folder, mapping=folder / "mark.toml"), LABELS, print)

    def _send(self, output: Output, frames: int) -> list[float]:
        """Send frames at their rate, and return when each was sent."""
        starts = []
        start, cpu = time.monotonic(), time.process_time()
        for number in range(frames):
            time.sleep(max(start + number / RATE - time.monotonic(), 0))
            update = update_of(number)
            starts.append(time.monotonic())
            output.send(update)
            self.sends.append(1e6 * (time.monotonic() - starts[-1]))
        time.sleep(SETTLE_SECONDS)
        self.cpu.append(1e3 * (time.process_time() - cpu) / frames)
        return starts


CONTENDERS = (
    ("nothing",),
    ("document",),
    ("osc, VRChat", "osc://127.0.0.1:{port}?app=vrchat&mapping={mapping}", "osc"),
    ("osc, VMC", "osc://127.0.0.1:{port}?app=vmc&mapping={mapping}", "osc"),
    ("ws", "ws://127.0.0.1:{port}", "ws"),
    ("http, /events", "http://127.0.0.1:{port}", "events"),
    ("webhook", "webhook+http://127.0.0.1:{port}/?min_seconds=0", "webhook"),
    ("jsonl", "{folder}/out.jsonl"),
    ("csv", "{folder}/out.csv"),
    ("parquet", "{folder}/out.parquet"),
    ("mcap", "{folder}/out.mcap"),
)


def update_of(number: int) -> Update:
    """Return the update of a frame of 640 x 480 with one person, another one each second."""
    face = person(1 + number // RATE, LABELS[1], FIRST_SCORE + STEP * number)
    frame = VideoFrame(FRAME, number / RATE, 0, number)
    return Update([face], number / RATE, frame, 0.01, RATE, SourceState(live=True), "a camera")


def free_port(reader: str) -> int:
    """Return a port that is free at this moment: of UDP for avatars, of TCP for others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if reader == "osc" else socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def receiving(reader: str, port: int) -> Iterator[list[str]]:
    """Run a receiver in a process of its own; after the block, the list has number and time of each frame."""
    command = [sys.executable, "-m", "benchmarks.live_outputs", "--receive", reader, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
        lines: list[str] = []
        try:
            yield lines
        finally:
            process.terminate()
            lines += process.communicate()[0].splitlines()


def receive_osc(port: int) -> Iterator[int]:
    """Yield the number of each frame, from the score at an avatar."""
    from pythonosc.osc_packet import OscPacket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        print(flush=True)
        while True:
            score = OscPacket(server.recv(2000)).messages[0].message.params[-1]
            if score >= FIRST_SCORE:  # others are neutral
                yield round((score - FIRST_SCORE) / STEP)


def receive_messages(port: int) -> Iterator[int]:
    """Yield the number of each frame from a WebSocket."""
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{port}/", compression=None) as connection:
        print(flush=True)
        for text in connection:
            yield json.loads(text)["frame"]


def receive_events(port: int) -> Iterator[int]:
    """Yield the number of each frame from server-sent events."""
    with urlopen(f"http://127.0.0.1:{port}/events") as answer:
        print(flush=True)
        for line in answer:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))["frame"]


def receive_requests(port: int) -> Iterator[int]:
    """Yield the number of each frame that a webhook reports."""
    frames: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            frames.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["frame"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        print(flush=True)
        while True:
            server.handle_request()
            while frames:
                yield frames.pop()


RECEIVERS = {"osc": receive_osc, "ws": receive_messages, "events": receive_events, "webhook": receive_requests}


def run(rounds: int, frames: int) -> list[Contender]:
    """Measure all outputs in turns.

    Args:
        rounds: Number of turns of each output.
        frames: Number of frames of a turn.
    """
    contenders = [Contender(*values) for values in CONTENDERS]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "mark.toml").write_text(MAPPING)
        for _ in range(rounds):
            for contender in contenders:
                contender.measure(Path(name), frames)
    return contenders


def rows_of(contender: Contender, idle: float) -> Iterator[Row]:
    """Yield the values of an output.

    Args:
        contender: The output.
        idle: CPU time per frame without an output in milliseconds.
    """
    for figure, unit, values in (("send", "us", contender.sends), ("latency", "ms", contender.latencies)):
        for share in (50, 99) if values else ():
            yield Row("live outputs", contender.name, f"{figure} p{share}", unit, float(np.percentile(values, share)))
    cpu = np.array(contender.cpu) - idle
    yield Row("live outputs", contender.name, "CPU", "ms", float(np.median(cpu)), float(cpu.min()), float(cpu.max()))


def table_of(rows: Sequence[Row]) -> Table:
    """Return the table of all values: a row per output, with the range of its turns' CPU times."""
    values = {(row.setting, row.figure): row for row in rows}
    lines = []
    for name in dict.fromkeys(row.setting for row in rows):
        cells = [name]
        for figure, digits in (("send p50", 0), ("send p99", 0), ("latency p50", 1), ("latency p99", 1), ("CPU", 2)):
            row = values.get((name, figure))
            cells.append("" if row is None else f"{row.value:.{digits}f}")
        cpu = values[name, "CPU"]
        lines.append((*cells, f"{cpu.low:.2f} to {cpu.high:.2f}"))
    titles = ("output", "send p50 us", "send p99 us", "latency p50 ms", "latency p99 ms", "CPU ms", "range")
    return Table("", titles, tuple(lines))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and write it as CSV if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="number of turns of each output")
    parser.add_argument("--frames", type=int, default=150, help=f"number of frames of a turn, at most {MAX_FRAMES}")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--receive", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.receive:  # the other process
        for number in RECEIVERS[options.receive[0]](int(options.receive[1])):
            print(number, time.monotonic(), flush=True)
        return
    with NoiseMonitor() as monitor:
        nothing, *others = run(options.rounds, min(options.frames, MAX_FRAMES))
    rows = [row for contender in others for row in rows_of(contender, float(np.median(nothing.cpu)))]
    print(text_of_table(table_of(rows), 80))
    in_process.finish(rows, {"rounds": options.rounds, "frames": options.frames}, monitor, options.csv)


if __name__ == "__main__":
    main()
