"""Load on `fer-edge serve` from good and hostile clients: errors, latencies, and the server's memory.

    PYTHONPATH=. .venv/bin/python benchmarks/serve_load.py --seconds 600

The server is started here, listens on the loopback address, and ends with the run. Good clients send one face crop
after another over one connection each, at fixed times; a latency is measured from that time, so that a late request
counts. A tenth of the clients is hostile: they send headers and bodies slowly, cut connections, and send large bodies,
texts and decompression bombs, in turns. Cameras send whole frames. Memory, open files and threads of the server are
read each second; the slope of the memory is fitted to the second half of the run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image
from websockets.asyncio.client import connect

from fer_edge.results import Table
from fer_edge.tables import text_of_table

MAX_SECONDS, MAX_CLIENTS, MAX_RATE = 3600.0, 500, 2000.0
CAMERA_RATE = 10.0  # frames a second
LARGE = 9 << 20  # bytes; above the server's limit
ANSWER_SECONDS = 30.0
HOSTILE_PAUSE, SAMPLE_SECONDS = 0.05, 1.0
T_95 = 2.101  # of Student's distribution with BLOCKS - 2 degrees of freedom
BLOCKS = 20  # of the samples of memory, whose means are nearly independent
HEAD = "POST /v1/faces?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Tally:
    """Counts and measurements of a run."""

    latencies: list[float] = field(default_factory=list)  # seconds
    errors: Counter[str] = field(default_factory=Counter)  # of good clients
    hostile: Counter[tuple[str, str]] = field(default_factory=Counter)  # kind and outcome
    documents: int = 0  # of cameras
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds and MB
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # seconds of CPU time


class Load:
    """Clients of a server.

    Args:
        port: Port of the server.
        seconds: Length in seconds.
        rate: Requests a second of all good clients together.
        query: Query of their requests.
    """

    def __init__(self, port: int, seconds: float, rate: float, query: str) -> None:
        frame = skimage.data.astronaut()
        self._port, self._seconds, self._rate, self._query = port, seconds, rate, query
        self._photo, self._crop = jpeg(frame), jpeg(frame[62:174, 169:281])
        self.tally = Tally()
        self._end = time.monotonic() + seconds

    async def run(self, clients: int, hostile: int, cameras: int, process: int) -> None:
        """Run all clients until the time is over."""
        self._end = time.monotonic() + self._seconds
        tasks = [self._send_requests((clients - hostile) / self._rate) for _ in range(clients - hostile)]
        tasks += [self._be_hostile(number) for number in range(hostile)]
        tasks += [self._send_frames() for _ in range(cameras)]
        await asyncio.gather(*tasks, self._watch(process))

    async def _send_requests(self, period: float) -> None:
        """Send requests at fixed times over one connection, which is opened again after an error."""
        await asyncio.sleep(random.random() * period)
        due = time.monotonic()
        streams: Streams | None = None
        while due < self._end:
            await asyncio.sleep(max(due - time.monotonic(), 0))
            try:
                streams = streams or await self._connect()
                status = await asyncio.wait_for(self._post(streams, self._crop), ANSWER_SECONDS)
                self.tally.latencies.append(time.monotonic() - due)
                if status != 200:
                    self.tally.errors[str(status)] += 1
            except (OSError, ValueError, EOFError, asyncio.TimeoutError) as error:
                self.tally.errors[type(error).__name__] += 1
                close(streams)
                streams = None
            due += period
        close(streams)

    async def _connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def _post(self, streams: Streams, body: bytes) -> int:
        streams[1].write(HEAD.format(query=self._query, length=len(body)).encode() + body)
        return await read_answer(streams[0])

    async def _send_frames(self) -> None:
        due = time.monotonic()
        try:
            async with connect(f"ws://127.0.0.1:{self._port}/v1/live", compression=None) as socket:
                while due < self._end:
                    await asyncio.sleep(max(due - time.monotonic(), 0))
                    await socket.send(self._photo)
                    document = json.loads(await asyncio.wait_for(socket.recv(), ANSWER_SECONDS))
                    self.tally.documents += 1
                    if "error" in document or len(document["people"]) != 1:
                        self.tally.errors["wrong document of a camera"] += 1
                    due += 1 / CAMERA_RATE
        except Exception as error:  # of any kind: a camera without an end counts
            self.tally.errors[f"camera: {type(error).__name__}"] += 1

    async def _be_hostile(self, turn: int) -> None:
        """Behave in each hostile way in turns, the first one given by `turn`."""
        headers = b"POST /v1/faces HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        kinds: list[tuple[str, Callable[[], Coroutine[Any, Any, str]]]] = [
            ("text", lambda: self._send_whole(b"no image" * 1000)),
            ("slow headers", lambda: self._send_slowly(headers, b"X: y\r\n")),
            ("bomb", lambda: self._send_whole(BOMB)),
            ("slow body", lambda: self._send_slowly(headers + b"Content-Length: 1000\r\n\r\n", b"x")),
            ("large", lambda: self._send_whole(bytes(LARGE))),
            ("cut", self._cut),
        ]
        while time.monotonic() < self._end:
            kind, attack = kinds[turn % len(kinds)]
            turn += 1
            try:
                outcome = await asyncio.wait_for(attack(), ANSWER_SECONDS)
            except (OSError, EOFError, ValueError):
                outcome = "connection ended"
            except asyncio.TimeoutError:  # the server has not ended it
                outcome = "still open"
            self.tally.hostile[kind, outcome] += 1
            await asyncio.sleep(HOSTILE_PAUSE)

    async def _send_slowly(self, start: bytes, part: bytes) -> str:
        streams = await self._connect()
        answer = asyncio.create_task(read_answer(streams[0]))
        try:
            streams[1].write(start)
            while not answer.done() and time.monotonic() < self._end:
                streams[1].write(part)
                await asyncio.wait([answer], timeout=1)
            return str(answer.result()) if answer.done() else "end of the run"
        finally:
            answer.cancel()
            close(streams)

    async def _cut(self) -> str:
        streams = await self._connect()
        streams[1].write(HEAD.format(query=self._query, length=len(self._photo)).encode() + self._photo[:-100])
        await streams[1].drain()
        streams[1].transport.abort()
        return "cut"

    async def _send_whole(self, body: bytes) -> str:
        streams = await self._connect()
        try:
            return str(await self._post(streams, body))
        finally:
            close(streams)

    async def _watch(self, process: int) -> None:
        """Read memory, files and threads of the server each second."""
        start = time.monotonic()
        while time.monotonic() < self._end:
            status = Path(f"/proc/{process}/status").read_text()
            fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            self.tally.memory.append((time.monotonic() - start, int(fields["VmRSS"].split()[0]) / 1000))
            self.tally.threads.append(int(fields["Threads"]))
            times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
            self.tally.cpu.append(sum(map(int, times)) / os.sysconf("SC_CLK_TCK"))
            self.tally.files.append(sum(1 for _ in Path(f"/proc/{process}/fd").iterdir()))
            await asyncio.sleep(SAMPLE_SECONDS)


async def read_answer(reader: asyncio.StreamReader) -> int:
    """Read one answer of HTTP, and return its status.

    Raises:
        EOFError: Connection that is closed before the end.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lengths = [line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length:")]
    await reader.readexactly(int(lengths[0]))
    return int(head.split()[1])


def close(streams: Streams | None) -> None:
    """Close a connection, if there is one."""
    if streams is not None:
        streams[1].close()


def jpeg(frame: Any) -> bytes:
    """Return a frame as JPEG."""
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def bomb() -> bytes:
    """Return a PNG file of some kB whose header announces three GB of pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 32_000, 32_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(4_000_000)))


BOMB = bomb()


def memory_slope(samples: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the slope of memory in the second half of a run in MB per minute, and half its 95 % interval.

    Args:
        samples: Times in seconds and sizes in MB.
    """
    half = np.array(samples[len(samples) // 2 :])
    if len(half) < BLOCKS:
        return float("nan"), float("nan")
    minutes, sizes = np.array([block.mean(axis=0) for block in np.array_split(half, BLOCKS)]).T
    x = (minutes - minutes.mean()) / 60
    slope = float(x @ sizes / (x @ x))
    rest = sizes - sizes.mean() - slope * x
    return slope, T_95 * float(np.sqrt(rest @ rest / (BLOCKS - 2) / (x @ x)))


def tables(tally: Tally, seconds: float) -> list[Table]:
    """Return the tables of a run."""
    latencies = 1000 * np.array(tally.latencies or [np.nan])
    slope, interval = memory_slope(tally.memory)
    sizes = [size for _, size in tally.memory]
    rows = [
        ("requests of good clients", f"{len(tally.latencies)}, {len(tally.latencies) / seconds:.1f} a second"),
        ("their errors", ", ".join(f"{count} x {name}" for name, count in tally.errors.items()) or "none"),
        ("latency p50, p99, max", ", ".join(f"{value:.1f} ms" for value in np.percentile(latencies, [50, 99, 100]))),
        ("documents of cameras", f"{tally.documents}"),
        ("CPU time of the server", f"{(tally.cpu[-1] - tally.cpu[0]) / seconds:.2f} s a second"),
        ("memory at start, end, max", f"{sizes[0]:.0f}, {sizes[-1]:.0f}, {max(sizes):.0f} MB"),
        ("slope of memory", f"{slope:+.2f} MB a minute (95 % interval ± {interval:.2f})"),
        ("open files at start, end, max", f"{tally.files[0]}, {tally.files[-1]}, {max(tally.files)}"),
        ("threads at start, end, max", f"{tally.threads[0]}, {tally.threads[-1]}, {max(tally.threads)}"),
    ]
    attacks = [(kind, outcome, str(count)) for (kind, outcome), count in sorted(tally.hostile.items())]
    return [
        Table("good clients and server", ("figure", "value"), tuple(rows)),
        Table("hostile clients", ("kind", "answer", "count"), tuple(attacks)),
    ]


def start_server(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[str], int]:
    """Start a server, and return its process and port.

    Args:
        arguments: Arguments of `fer-edge serve`.
        environment: Additional environment variables; none by default.
    """
    command = [sys.executable, "-m", "fer_edge", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if not address:
        raise SystemExit("error: the server did not start; see its message above")
    return process, int(address.rpartition(":")[2])


def limited(kind: type[float] | type[int], largest: float) -> Any:
    """Return a converter of numbers above 0, up to a largest one."""

    def convert(text: str) -> float:
        value = kind(text)
        if not 0 < value <= largest:
            raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {largest:g}")
        return value

    return convert


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return 0 if no good client had an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=limited(float, MAX_SECONDS), default=60.0)
    parser.add_argument("--clients", type=limited(int, MAX_CLIENTS), default=50, help="a tenth of them is hostile")
    parser.add_argument("--rate", type=limited(float, MAX_RATE), default=200.0, help="requests a second")
    parser.add_argument("--cameras", type=int, choices=range(33), default=2, metavar="N")
    parser.add_argument("--query", default="crop=true", help="query of good requests; empty: faces are searched")
    parser.add_argument("--workers", type=limited(int, 64), help="of the server; default: its own")
    parser.add_argument("--bundle", type=Path, help="default: the shipped one")
    options = parser.parse_args(arguments)
    served = [] if options.bundle is None else ["--bundle", str(options.bundle)]
    served += [] if options.workers is None else ["--workers", str(options.workers)]
    process, port = start_server(served)
    with process:
        try:
            load = Load(port, options.seconds, options.rate, options.query)
            asyncio.run(load.run(options.clients, options.clients // 10, options.cameras, process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    for table in tables(load.tally, options.seconds):
        print(text_of_table(table, 120))
    print(f"exit code of the server after SIGTERM: {code}")
    return 1 if load.tally.errors or not load.tally.latencies or code != 128 + signal.SIGTERM else 0


if __name__ == "__main__":
    sys.exit(main())
