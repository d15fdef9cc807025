"""Measure the CPU time of each output of `fer-edge live` per face, and the time from a frame's result to its receiver.

    PYTHONPATH=. .venv/bin/python benchmarks/output_cost.py

Results with one face arrive 30 times a second, as from a camera; no model runs. A receiver in a process of its own
notes when each one arrives. CPU time is that of the whole process without that of the same loop without an output.
Outputs that have no message for each frame have no latency; those whose packages are absent are skipped.
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
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import EngineUnavailableError
from fer_edge.live import Output, Update
from fer_edge.live.outputs import OUTPUTS, make_output
from fer_edge.video import SourceState, VideoFrame
from tests.live.outputs.updates import LABELS, person

RATE = 30  # results a second
FIRST_SCORE, STEP = 0.6, 0.001  # of the frames: the score identifies a frame at an avatar
MAX_FRAMES = 380
MAPPING = f'hold = 0\nfade = 0\n[[floats]]\nname = "Mark"\nweights = {{{LABELS[1]} = 1}}\n'
# Target by name, and its receiver; empty for files.
TARGETS = {
    "VRChat": ("osc://127.0.0.1:{port}?app=vrchat&mapping={mapping}", "osc"),
    "VMC": ("osc://127.0.0.1:{port}?app=vmc&mapping={mapping}", "osc"),
    "WebSocket": ("ws://127.0.0.1:{port}", "ws"),
    "webhook": ("webhook+http://127.0.0.1:{port}/", "http"),
    "JSON lines": ("{folder}/out.jsonl", ""),
    "CSV": ("{folder}/out.csv", ""),
    "Parquet": ("{folder}/out.parquet", ""),
    "MCAP": ("{folder}/out.mcap", ""),
}
FRAME = VideoFrame(np.zeros((480, 640, 3), np.uint8), 0, 0, 0)


def result(index: int) -> Update:
    """Return the result of a frame; its time in seconds is its number."""
    face = person(1, LABELS[1], FIRST_SCORE + STEP * index)
    return Update([face], float(index), FRAME, 0.01, RATE, SourceState(live=True))


def send_all(output: Output | None, frames: int) -> tuple[list[float], float]:
    """Send results in their time, and return when each was sent, and the CPU time of the process in seconds."""
    times = []
    started, cpu = time.monotonic(), time.process_time()
    for index in range(frames):
        time.sleep(max(started + index / RATE - time.monotonic(), 0))
        update = result(index)
        times.append(time.monotonic())
        if output is not None:
            output.send(update)
    time.sleep(0.2)  # for the threads of the output
    return times, time.process_time() - cpu


def measure(name: str, folder: Path, frames: int, idle: float) -> dict[str, Any]:
    """Measure one output, and return its values.

    Args:
        name: Name in `TARGETS`.
        folder: Folder for files.
        frames: Number of results.
        idle: CPU time of the loop without an output, in seconds.
    """
    text, reader = TARGETS[name]
    port = free_port(reader)
    target = text.format(port=port, folder=folder, mapping=folder / "mark.toml")
    try:
        output = make_output(target, LABELS, lambda note: print(f"{name}: {note}", file=sys.stderr))
    except EngineUnavailableError as error:
        return {"skipped": str(error)}
    with ExitStack() as stack:
        if reader in ("osc", "http"):
            lines = stack.enter_context(receiving(reader, port))
        output.open("benchmark")
        stack.callback(output.close)
        if reader == "ws":  # the output is the server
            lines = stack.enter_context(receiving(reader, port))
        times, cpu = send_all(output, frames)
        output.close()
    values = {"CPU per face, us": round(1e6 * (cpu - idle) / frames)}
    if reader in ("osc", "ws"):
        arrivals = {int(index): float(moment) for index, moment in map(str.split, lines)}
        waits = [1e3 * (arrivals[index] - moment) for index, moment in enumerate(times) if index in arrivals]
        p50, p99 = np.percentile(waits, (50, 99))
        values |= {"received": len(waits), "latency p50, ms": round(p50, 2), "latency p99, ms": round(p99, 2)}
    return values


@contextmanager
def receiving(reader: str, port: int) -> Iterator[list[str]]:
    """Run a receiver in a process of its own; the list has its lines after the block."""
    command = [sys.executable, __file__, "--receive", reader, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # it is ready
    lines: list[str] = []
    try:
        yield lines
    finally:
        process.terminate()
        lines += process.communicate()[0].splitlines()


def receive(reader: str, port: int) -> None:
    """Print number and time of each result that arrives: the work of the other process."""
    for index in {"osc": receive_osc, "ws": receive_websocket, "http": receive_requests}[reader](port):
        print(index, time.monotonic(), flush=True)


def receive_osc(port: int) -> Iterator[int]:
    """Yield the number of each result, from the score at an avatar."""
    from pythonosc.osc_packet import OscPacket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        print("ready", flush=True)
        while True:
            score = OscPacket(server.recv(2000)).messages[0].message.params[-1]
            if score >= FIRST_SCORE:  # not neutral
                yield round((score - FIRST_SCORE) / STEP)


def receive_websocket(port: int) -> Iterator[int]:
    """Yield the number of each result, from the time of its document."""
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{port}/") as connection:
        print("ready", flush=True)
        for text in connection:
            yield round(json.loads(text)["time"])


def receive_requests(port: int) -> Iterator[int]:
    """Answer requests, which a webhook sends when a label changes, and yield nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()
    yield from ()


def free_port(reader: str) -> int:
    """Return a port that no program has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if reader == "osc" else socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=MAX_FRAMES, help=f"number of results, at most {MAX_FRAMES}")
    parser.add_argument("--receive", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.receive:
        receive(options.receive[0], int(options.receive[1]))
        return
    frames = min(options.frames, MAX_FRAMES)
    idle = send_all(None, frames)[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mark.toml").write_text(MAPPING)
        names = [name for name, (target, _) in TARGETS.items() if output_key(target) in OUTPUTS]
        print(json.dumps({name: measure(name, folder, frames, idle) for name in names}, indent=1))


def output_key(target: str) -> str:
    """Return the key of a target in `OUTPUTS`."""
    scheme, separator, _ = target.partition("://")
    return scheme if separator else Path(target).suffix


if __name__ == "__main__":
    main()
