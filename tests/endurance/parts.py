"""Parts of a long run other than recognizers: trackers, live sessions, the server, and the sweep of faults."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import skimage.data
from PIL import Image

from fer_edge import ExpressionTracker, FaceDetector
from fer_edge.bundle import Bundle
from fer_edge.errors import FerEdgeError
from fer_edge.live.outputs import make_output
from fer_edge.live.session import LiveSession
from tests.endurance.recognizers import Frame, random_layout
from tests.endurance.tally import Tally
from tests.live.outputs.receivers import free_port
from tests.video.clips import HttpCamera, write_clip
from tests.video.rtsp import RtspCamera

if TYPE_CHECKING:
    from tests.endurance.sweep import Sweep

SIZES = ((64, 48), (200, 150), (320, 240), (512, 512))
LOAD_SECONDS = 20.0
NEVER = 1 << 40  # number of a call
CLIENTS, HOSTILE, CAMERAS, RATE = 10, 4, 1, 10.0


def photo(rng: np.random.Generator) -> Frame:
    """Return a photograph of one face, of random size and place, or noise."""
    image = Image.fromarray(skimage.data.astronaut()).resize(SIZES[int(rng.integers(len(SIZES)))])
    frame = np.roll(np.asarray(image), int(rng.integers(-20, 20)), axis=1)
    return frame if rng.random() < 0.8 else rng.integers(0, 256, frame.shape, np.uint8)


class Trackers:
    """Opens and closes of detectors and trackers of one engine, on frames of random sizes and layouts."""

    def __init__(self, bundle: Path, engine: str, seed: int, tally: Tally, seconds: float) -> None:
        self.bundle, self.engine, self.tally, self.seconds = bundle, engine, tally, seconds
        self.rng = np.random.default_rng(seed)

    def round(self) -> None:
        """Open a tracker and a detector, use them in two threads, and close them."""
        until = time.monotonic() + self.seconds
        with ExitStack() as stack:
            background = bool(self.rng.random() < 0.5)
            tracker = ExpressionTracker.open(self.bundle, engine=self.engine, background=background)
            stack.enter_context(tracker)
            detector = stack.enter_context(FaceDetector.open(engine=self.engine))
            seeds = [int(seed) for seed in self.rng.integers(1 << 30, size=2)]
            threads = [
                threading.Thread(target=self._use, args=(function, seed, until))
                for function, seed in zip((tracker.update, detector.detect), seeds, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _use(self, function: Callable[..., object], seed: int, until: float) -> None:
        rng = np.random.default_rng(seed)
        while time.monotonic() < until:
            color = "bgr" if rng.random() < 0.3 else "rgb"
            with self.tally.record_errors("a frame of a tracker or detector"):
                function(random_layout(photo(rng), rng), color=color)


class Receiver:
    """Server that reads requests, and answers some, resets others, and is gone in between."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._listener.settimeout(0.2)
        self._end = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        """Serve in a thread."""
        thread = threading.Thread(target=self._serve)
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()
            with suppress(OSError):  # an injected fault
                self._listener.close()

    def _serve(self) -> None:
        while not self._end.is_set():
            with suppress(OSError):
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(1)
                    connection.recv(1 << 16)
                    if self._random.random() < 0.5:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    else:  # a reset instead of an end
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Live:
    """Live sessions on sources that drop and return, with outputs whose receivers die."""

    def __init__(self, bundle: Path, engine: str, folder: Path, seed: int, tally: Tally, seconds: float) -> None:
        self.model = Bundle.open(bundle, in_memory=True)
        self.engine, self.folder, self.tally, self.seconds = engine, folder, tally, seconds
        self.random = random.Random(seed)
        self.sources = folder.parent / "sources"  # outside of the folder with faults: its files are complete
        (self.sources / "photos").mkdir(parents=True, exist_ok=True)
        frames = [np.asarray(Image.fromarray(skimage.data.astronaut()).resize((320, 320)))] * 20
        for number in range(3):
            Image.fromarray(frames[0]).save(self.sources / "photos" / f"{number}.png")
        write_clip(self.sources / "clip.mp4", frames)
        self.frames = frames

    def round(self) -> None:
        """Run one session; a fault that hits a socket of this suite ends the round."""
        with suppress(OSError), ExitStack() as stack:
            kind = self.random.choice(("photos", "clip.mp4", "http", "rtsp"))
            is_file = kind in ("photos", "clip.mp4")
            if is_file:
                source = str(self.sources / kind)
            else:
                camera = self._camera(kind)
                stack.enter_context(camera.running())
                source = camera.url
                stack.enter_context(self._dropping(camera.plugged))
            receiver = stack.enter_context(Receiver(self.random.randrange(1 << 30)).running())
            targets = self._targets(receiver.port)
            with suppress(FerEdgeError):  # of a source or output that a fault has hit
                self._run(source, targets, is_file)
                return
            self.tally.add(refused=1)

    def _camera(self, kind: str) -> HttpCamera | RtspCamera:
        return HttpCamera(self.frames, rate=20) if kind == "http" else RtspCamera(self.frames)

    def _targets(self, port: int) -> list[str]:
        targets = ["osc://127.0.0.1:9?app=vrchat", f"webhook+http://127.0.0.1:{port}/hook"]
        targets += [f"{scheme}://127.0.0.1:{free_port(socket.SOCK_STREAM)}" for scheme in ("ws", "http")]
        targets += [str(self.folder / f"out.{suffix}") for suffix in ("jsonl", "csv", "parquet", "mcap")]
        return self.random.sample(targets, self.random.randint(1, 3))

    def _run(self, source: str, targets: list[str], is_file: bool) -> None:
        options: dict[str, Any] = {"loop": True, "pace": self.random.random() < 0.5} if is_file else {}
        try:
            outputs = [make_output(target, self.model.manifest.labels, lambda line: None) for target in targets]
            with LiveSession.open(source, self.model, outputs=outputs, engine=self.engine, **options) as session:
                try:
                    session.run(self.seconds)
                finally:
                    self.tally.add(frames=session.summary().frames)
        except FerEdgeError:
            raise
        except Exception as error:
            self.tally.fail(f"a live session raised {type(error).__name__}: {error}")

    @contextmanager
    def _dropping(self, plugged: threading.Event) -> Iterator[None]:
        """Unplug and plug a camera in a thread."""
        end = threading.Event()

        def drop() -> None:
            while not end.wait(self.random.uniform(0.2, 1)):
                if plugged.is_set():
                    plugged.clear()
                else:
                    plugged.set()

        thread = threading.Thread(target=drop)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


class Serve:
    """Load of good and hostile clients on `fer-edge serve`, which is a process of its own."""

    def __init__(self, bundle: Path, engine: str, environment: dict[str, str], tally: Tally, seconds: float) -> None:
        from benchmarks import serve_load

        self._load, self.tally, self.seconds = serve_load, tally, seconds
        arguments = ["--workers", "1", "--engine", engine, "--bundle", str(bundle)]
        self._server, self._port = serve_load.start_server(arguments, environment)
        tally.process = self._server.pid

    def round(self) -> None:
        """Send load for some seconds; connections may end, but no answer may be an error of the server."""
        load = self._load.Load(self._port, self.seconds, RATE, "crop=true")
        asyncio.run(load.run(CLIENTS, HOSTILE, CAMERAS, self._server.pid))
        self.tally.add(frames=len(load.tally.latencies) + load.tally.documents)
        for name, count in load.tally.errors.items():
            if name == "500" or name == "wrong document of a camera":
                self.tally.fail(f"a good client received: {name}")
            else:
                self.tally.add(refused=count)
        if self._server.poll() is not None:
            raise RuntimeError(f"the server ended with exit status {self._server.returncode}")

    def close(self) -> None:
        """Stop the server by SIGTERM."""
        self._server.send_signal(signal.SIGTERM)
        self._server.wait(60)


class Sweeps:
    """Sweep of faults over all scenarios, in random order with random calls."""

    def __init__(self, folder: Path, seed: int, tally: Tally) -> None:
        from tests.endurance.scenarios import SCENARIOS

        self.folder, self.tally, self.random = folder, tally, random.Random(seed)
        self.scenarios = [*SCENARIOS.values()]
        self.prepared: dict[str, tuple[Sweep, dict[str, int]]] = {}

    def round(self) -> None:
        """Let one call of one scenario fail, for some kind of fault, and check the properties that must hold."""
        from tests.endurance.sweep import Sweep

        scenario = self.random.choice(self.scenarios)
        fault = self.random.choice(scenario.faults)
        if scenario.name not in self.prepared:
            work = Sweep(scenario, self.folder / scenario.name)
            counted = {kind.name: work.run(kind, NEVER)[1].calls for kind in scenario.faults}
            self.prepared[scenario.name] = work, counted
        work, counted = self.prepared[scenario.name]
        if not counted[fault.name]:
            return
        run, seen = work.run(fault, self.random.randint(1, counted[fault.name]))
        self.tally.add(frames=1, faults=bool(seen.faults))
        if run.problem:
            self.tally.fail(f"{run.scenario}, {run.fault} at {run.call.split(' ')[0]} {run.number}: {run.problem}")
