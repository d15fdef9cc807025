"""Options and limits of the server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from fer_edge._settings import convert_fields
from fer_edge.hardware.cpu import default_threads, processors

MAX_WORKERS = 4  # that are started by default: each further one needs about 70 MB
Count = Annotated[int, Meta(ge=1)]


def default_workers() -> int:
    """Return the number of processors that this process may use, at most `MAX_WORKERS`."""
    return min(default_threads(respects_affinity=True) or processors(), MAX_WORKERS)


@dataclass(frozen=True)
class ServeOptions:
    """Options of the server.

    Attributes:
        host: Name or address to listen on, the loopback address by default.
        port: Port, 8080 by default; 0 is a free one.
        token: Secret that clients send, at least 8 characters; empty: none on the loopback address, and a new one each
            time on others.
        workers: Number of threads that recognise, each with networks of its own; by default one for each processor, at
            most 4.
        queue: Largest number of requests that wait for a worker, 64 by default; others are refused.
        cameras: Largest number of WebSockets, 32 by default.
        max_bytes: Largest size of an image in bytes, 8 MiB by default.
        max_pixels: Largest number of pixels of an image, 25 million by default.
        timeout: Time in seconds in which a client has to send a request and read an answer, and to send the next frame
            of a camera; 10 by default.

    Raises:
        ConfigError: Value of another type or out of bounds.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    token: str = ""
    workers: Count = field(default_factory=default_workers)
    queue: Count = 64
    cameras: Count = 32
    max_bytes: Count = 8 << 20
    max_pixels: Count = 25_000_000
    timeout: Annotated[float, Meta(gt=0, le=3600)] = 10.0

    def __post_init__(self) -> None:
        convert_fields(self)
