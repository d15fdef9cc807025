"""Server of recognition: images over HTTP, and frames of cameras over WebSockets."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fer_edge._text import one_line
from fer_edge.bundle import Bundle
from fer_edge.errors import ConfigError, EngineError, FerEdgeError, ImageError, InputError
from fer_edge.live.access import Access
from fer_edge.live.web_server import WebServer, wait_until
from fer_edge.loaded import LoadedModel
from fer_edge.serve.camera import INTERNAL_ERROR, Camera
from fer_edge.serve.deadlines import Deadlines
from fer_edge.serve.metrics import MEDIA_TYPE, Metrics
from fer_edge.serve.openapi import openapi_document
from fer_edge.serve.options import ServeOptions
from fer_edge.serve.requests import CLOSE, RETRY, Bodies, RefusalError, parse_query
from fer_edge.serve.workers import Worker
from fer_edge.shipped import shipped_bundle
from fer_edge.signing import PublicKey

FACES, LIVE = "/v1/faces", "/v1/live"
GRACE = 10  # seconds in which running requests end
MAX_CONNECTIONS = 1000
SEND_BUFFER = 65_536  # bytes of answers that the system stores for a client that does not read
STARTS, RUNS, STOPS = "starts", "runs", "stops"  # states
FAILURE = "the server failed; its operator finds the reason in its messages"
Handler = Callable[[Any], Awaitable[Any]]


class FaceServer:
    """Server of recognition for this machine, or with a token for others.

    Images are neither stored nor logged. `ServeOptions` has the limits.

    Args:
        bundle: Path of the bundle, or an open bundle; None: the shipped one.
        engine: Name of one of the bundle's engines; None: the first that runs on this machine.
        threads: Number of CPU threads of each network, 1 by default; None: the engine's default.
        signed_by: Public key that must have signed the bundle, as for `Bundle.open`; None: the origin is not checked.
        options: Options and limits; None: the defaults.
        note: Function that writes one sentence about a failure of the server; None: the failure is only counted.

    Attributes:
        access: Rule for who may use the server, with its token.
        url: Address; empty before `open`.

    Raises:
        ConfigError: Token that is too short, or `signed_by` beside an open bundle.
        EngineUnavailableError: The extra `serve` is not installed.

    >>> with FaceServer() as server:
    ...     server.wait()
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Bundle | None = None,
        *,
        engine: str | None = None,
        threads: int | None = 1,
        signed_by: PublicKey | None = None,
        options: ServeOptions | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        if signed_by is not None and isinstance(bundle, Bundle):
            raise ConfigError("signed_by is set beside an open bundle; pass it to Bundle.open")
        self._options = options or ServeOptions()
        limits = self._options
        self.access, self.url = Access(limits.host, limits.token), ""
        self._note = note
        self._bodies = Bodies(limits.max_bytes, limits.timeout)
        self._bundle, self._engine, self._threads, self._signed_by = bundle, engine, threads, signed_by
        self._state = STARTS
        self._cameras: set[Camera] = set()
        self._running = 0  # requests with an image
        self._watch: asyncio.Task[None] | None = None
        self._server = WebServer(
            self._application,
            "server",
            "serve",
            note,
            http="h11",
            ws_max_size=limits.max_bytes,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=max(1, round(limits.timeout)),
            timeout_graceful_shutdown=GRACE,
        )
        self._metrics = Metrics(
            {
                ("waiting", "Images that wait or are recognised."): self._waiting,
                ("cameras", "WebSockets of cameras."): lambda: len(self._cameras),
                ("body_bytes", "Bytes of images in memory."): lambda: self._bodies.size,
            },
            lambda: self._workers[0].model_hash if self._workers else "",
        )
        self._workers: list[Worker] = []
        self._place = Path()  # of the bundle
        self._reloading = threading.Lock()
        self._resources = ExitStack()

    def open(self) -> str:
        """Start the server, open the engines, and return the address. Requests are refused until then.

        Raises:
            BundleError: Bundle that cannot be used.
            ConfigError: Face networks that are not installed.
            EngineError: Engine that is not installed or failed.
            FerEdgeError: Port that is in use, or address of another machine.
        """
        host = self._options.host
        port = self._server.start(host, self._options.port, "choose another --port", SEND_BUFFER)
        self._server.call(self._start_watch)
        try:
            self._open_workers()
        except BaseException:
            self.close()
            raise
        self._state = RUNS
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return self.url

    def _open_workers(self) -> None:
        bundle = self._bundle
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(bundle or shipped_bundle(), in_memory=True, signed_by=self._signed_by)
        self._place, self._signed_by = bundle.path, bundle.signed_by
        for _ in range(self._options.workers):
            worker = Worker(bundle, self._engine, self._threads, self._options.max_pixels)
            self._resources.callback(worker.close)
            self._workers.append(worker)

    def reload(self) -> str:
        """Load the bundle again, whose file was replaced, and return the hash of its model.

        All workers load the new model beside the former one, which takes the memory of both, and then change between
        two images. Requests and cameras do not notice; the server stays ready.

        Raises:
            FerEdgeError: Bundle that cannot be used or has other labels; all workers keep the former model.
        """
        if not self._workers:
            raise EngineError("the server is not open; call open first")
        models: list[LoadedModel] = []
        with self._reloading, ExitStack() as unused:
            try:
                bundle = Bundle.open(self._place, in_memory=True, signed_by=self._signed_by)
                for worker in self._workers:
                    models.append(worker.load_model(bundle))
                    unused.callback(models[-1].close)
            except BaseException:
                self._server.call(lambda: self._metrics.count("reloads", result="refused"))
                raise
            for worker, model in zip(self._workers, models, strict=True):
                worker.swap(model)
            unused.pop_all()
            self._server.call(lambda: self._metrics.count("reloads", result="done"))
            return models[0].model_hash

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the server has ended.

        Args:
            seconds: Longest wait; None: without limit.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._server.wait(0.5) and (deadline is None or time.monotonic() < deadline):
            pass

    def close(self) -> None:
        """Refuse new requests, finish the running ones, and release the engines; may be called several times."""
        self._server.stop(self._finish)
        self._resources.close()

    def __enter__(self) -> FaceServer:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _finish(self) -> None:
        self._state = STOPS
        for camera in self._cameras:
            camera.stop()
        await wait_until(lambda: not self._cameras)
        if self._watch is not None:
            self._watch.cancel()

    def _start_watch(self) -> None:
        deadlines = Deadlines(
            lambda: self._server.connections, self._options.timeout, lambda: self._metrics.count("timeouts")
        )
        self._watch = asyncio.get_running_loop().create_task(deadlines.run())

    def _waiting(self) -> int:
        return sum(worker.waiting for worker in self._workers)

    def _application(self) -> Any:
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.routing import Route, WebSocketRoute

        routes = [
            Route(FACES, self._endpoint(FACES, self._recognize), methods=["POST", "OPTIONS"]),
            WebSocketRoute(LIVE, self._serve_camera),
            Route("/metrics", self._endpoint("/metrics", self._serve_metrics)),
            Route("/openapi.json", self._endpoint("/openapi.json", self._serve_description)),
            Route("/healthz", self._endpoint("/healthz", self._check_health, is_open=True)),
            Route("/readyz", self._endpoint("/readyz", self._check_readiness, is_open=True)),
        ]

        async def refuse(request: Any, error: Exception) -> Any:
            assert isinstance(error, HTTPException)
            headers = dict(error.headers or {})
            return self._count("other", self._error(request, error.status_code, error.detail.lower(), headers))

        return self.access.guard(Starlette(routes=routes, exception_handlers={HTTPException: refuse}))

    def _endpoint(self, path: str, handler: Handler, is_open: bool = False) -> Handler:
        """Return the function of a route, whose answers are counted and whose errors are JSON.

        Args:
            path: Path of the route.
            handler: Function that returns the answer, or raises an error.
            is_open: Whether no token is needed.
        """

        async def respond(request: Any) -> Any:
            try:
                if not is_open and request.method != "OPTIONS" and not self.access.is_allowed(request):
                    raise RefusalError(403, self.access.refusal, CLOSE)
                answer = await handler(request)
            except RefusalError as error:
                answer = self._error(request, error.status, str(error), error.headers)
            except (ImageError, InputError) as error:
                answer = self._error(request, 422, str(error))
            except Exception as error:
                answer = self._failure(request, error)
            return self._count(path, answer)

        return respond

    def _count(self, path: str, answer: Any) -> Any:
        self._metrics.count("requests", path=path, status=answer.status_code)
        return answer

    def _error(self, request: Any, status: int, message: str, headers: dict[str, str] | None = None) -> Any:
        from starlette.responses import JSONResponse

        return JSONResponse({"error": message}, status, {**self.access.headers(request), **(headers or {})})

    def _failure(self, request: Any, error: Exception) -> Any:
        from starlette.requests import ClientDisconnect

        if isinstance(error, ClientDisconnect):
            return self._error(request, 400, "the client has left", CLOSE)
        self._report(error)
        return self._error(request, 500, FAILURE)

    def _report(self, error: Exception) -> None:
        """Write a line about a failure of the server; clients do not get its details."""
        message = str(error) if isinstance(error, FerEdgeError) else f"{type(error).__name__}: {error}"
        if self._note is not None:
            self._note(f"a request failed: {one_line(message)}")

    async def _recognize(self, request: Any) -> Any:
        from starlette.responses import Response

        headers = self.access.headers(request)
        if request.method == "OPTIONS":  # a browser's question before it sends an image
            allowed = {
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": "authorization, content-type",
            }
            return Response(status_code=204, headers=headers | allowed)
        query = parse_query(request.query_params)
        self._check_running()
        async with self._bodies.read(request) as image:
            arrival = time.monotonic()
            self._check_running()
            if self._running >= self._options.queue + len(self._workers):
                raise RefusalError(503, "all workers are busy and the queue is full; send the image again", RETRY)
            self._running += 1
            try:
                worker = min(self._workers, key=lambda worker: worker.waiting)
                await worker.prepare(query.detail)
                document, faces = await worker.run(worker.recognize, image, query.boxes, query.detail)
            finally:
                self._running -= 1
        self._observe(FACES, faces, time.monotonic() - arrival)
        return Response(document, media_type="application/json", headers=headers)

    def _observe(self, path: str, faces: int, seconds: float) -> None:
        self._metrics.count("faces", faces, path=path)
        self._metrics.observe(path, seconds)

    def _check_running(self) -> None:
        if self._state != RUNS:
            raise RefusalError(503, f"the server {self._state}", RETRY | CLOSE)

    async def _serve_camera(self, websocket: Any) -> None:
        from starlette.websockets import WebSocketDisconnect

        if not self.access.is_allowed(websocket):
            await websocket.send_denial_response(self._count(LIVE, self._error(websocket, 403, self.access.refusal)))
            return
        if self._state != RUNS or len(self._cameras) >= self._options.cameras:
            full = f"there are {self._options.cameras} cameras already"
            reason = full if self._state == RUNS else f"the server {self._state}"
            await websocket.send_denial_response(self._count(LIVE, self._error(websocket, 503, reason, RETRY)))
            return
        worker = min(self._workers, key=lambda worker: worker.cameras)
        camera = Camera(
            websocket,
            worker,
            self._options.timeout,
            lambda result: self._metrics.count("frames", result=result),
            lambda faces, seconds: self._observe(LIVE, faces, seconds),
        )
        self._cameras.add(camera)
        try:
            await websocket.accept()
            await camera.run()
        except (WebSocketDisconnect, RuntimeError):  # RuntimeError: a message to a client that has just left
            pass
        except Exception as error:
            self._report(error)
            await websocket.close(INTERNAL_ERROR, FAILURE)
        finally:
            self._cameras.discard(camera)

    async def _serve_metrics(self, request: Any) -> Any:
        from starlette.responses import Response

        return Response(self._metrics.text(), headers=self.access.headers(request), media_type=MEDIA_TYPE)

    async def _serve_description(self, request: Any) -> Any:
        from starlette.responses import JSONResponse

        return JSONResponse(openapi_document(), headers=self.access.headers(request))

    async def _check_health(self, request: Any) -> Any:
        from starlette.responses import JSONResponse

        return JSONResponse({"status": "ok"}, headers=self.access.headers(request))

    async def _check_readiness(self, request: Any) -> Any:
        self._check_running()
        return await self._check_health(request)
