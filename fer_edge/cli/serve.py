"""`fer-edge serve`."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from typing import Annotated

import typer

from fer_edge.cli.options import Engine, OneThread, Reload, ShippedBundle, SignedBy, Workers

TOKEN = "FER_EDGE_TOKEN"  # environment variable, since other users of the machine can read a command line


def serve(
    bundle: ShippedBundle = None,
    signed_by: SignedBy = None,
    reload: Reload = False,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Address to listen on; others than the loopback address "
            f"need a token, which the environment variable {TOKEN} contains.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the server; 0 is a free one.")] = 8080,
    workers: Workers = None,
    queue: Annotated[
        int, typer.Option("--queue", min=1, help="Largest number of requests that wait; others are refused.")
    ] = 64,
    cameras: Annotated[int, typer.Option("--cameras", min=1, help="Largest number of WebSockets.")] = 32,
    max_bytes: Annotated[int, typer.Option("--max-bytes", min=1, help="Largest size of an image in bytes.")] = 8 << 20,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Largest number of pixels of an image; default: 25000000.")
    ] = 25_000_000,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=0.1, max=3600, help="Time in seconds in which a client has to send an image or read."
        ),
    ] = 10.0,
    engine: Engine = None,
    threads: OneThread = 1,
) -> None:
    """Serve recognition of images over HTTP, and of cameras over WebSockets.

    POST /v1/faces accepts an image, /v1/live the frames of a camera. Images are neither stored nor logged. SIGTERM and
    Ctrl-C end the server after the running requests.

    Example: fer-edge serve --port 8080
    """
    from fer_edge._reloads import Reloads
    from fer_edge.cli.output import print_line, print_note
    from fer_edge.errors import EngineError
    from fer_edge.serve import FaceServer, ServeOptions
    from fer_edge.serve.options import default_workers
    from fer_edge.shipped import shipped_bundle

    # Pillow's remarks on damaged images; clients that send many would fill the messages of the server.
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    options = ServeOptions(
        host=host,
        port=port,
        token=os.environ.get(TOKEN, ""),
        workers=workers or default_workers(),
        queue=queue,
        cameras=cameras,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        timeout=timeout,
    )
    server = FaceServer(bundle, engine=engine, threads=threads, signed_by=signed_by, options=options, note=print_note)
    reloads = Reloads(bundle or shipped_bundle(), server.reload, print_note)
    with ExitStack() as stack:
        stack.callback(server.close)
        print_line(server.open(), flush=True)
        if server.access.is_new_token:
            print_note(f"clients need this token: {server.access.token}")
        print_note("Ctrl-C ends")
        if reload:
            stack.enter_context(reloads)
        server.wait()
        raise EngineError("the web server has ended by itself; start it again")
