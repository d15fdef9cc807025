"""Requests of clients that are not trusted: query, and body of limited size within limited time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast, get_args

from fer_edge.boxes import XYWH, parse_box
from fer_edge.choices import Detail
from fer_edge.errors import FerEdgeError, InputError, shown

MAX_BOXES = 32
DISCARD_SECONDS = 2.0  # for the rest of a large body: a client reads the answer only after it has sent the body
BUDGET = 16  # images of the largest size that bodies may fill together
RETRY = {"Retry-After": "1"}
CLOSE = {"Connection": "close"}


class RefusalError(FerEdgeError):
    """Request that is answered with an error.

    Attributes:
        status: Status of the answer.
        headers: Headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True)
class FaceQuery:
    """Query of a request: where the faces are.

    Attributes:
        boxes: Boxes of the faces; empty: the image is a face crop; None: faces are searched.
        detail: Size of the faces that are searched.
    """

    boxes: tuple[XYWH, ...] | None
    detail: Detail


def parse_query(parameters: Any) -> FaceQuery:
    """Check the query of a request.

    Args:
        parameters: Parameters, as Starlette's `QueryParams`.

    Raises:
        RefusalError: Unknown parameter, wrong value, or parameters that contradict each other.
    """
    unknown = set(parameters) - {"crop", "box", "detail", "token"}
    if unknown:
        raise RefusalError(400, f"{shown(min(unknown))} is not a parameter; expected crop, box or detail")
    crop, detail = parameters.get("crop", "false"), parameters.get("detail", "normal")
    texts = parameters.getlist("box")
    if crop not in ("true", "false"):
        raise RefusalError(400, f"crop is {shown(crop)}; expected true or false")
    if detail not in get_args(Detail):
        raise RefusalError(400, f"detail is {shown(detail)}; expected one of: {', '.join(get_args(Detail))}")
    if (crop == "true") + bool(texts) + ("detail" in parameters) > 1:
        raise RefusalError(400, "crop, box and detail contradict each other; expected at most one of them")
    if len(texts) > MAX_BOXES:
        raise RefusalError(400, f"{len(texts)} boxes; expected at most {MAX_BOXES}")
    boxes = tuple(map(_parse_box, texts)) if texts or crop == "true" else None
    return FaceQuery(boxes, cast(Detail, detail))


def _parse_box(text: str) -> XYWH:
    try:
        return parse_box([float(number) for number in text.split(",")])
    except (ValueError, InputError):
        raise RefusalError(400, f"box is {shown(text)}; expected x,y,width,height in pixels") from None


class Bodies:
    """Reader of the images that requests contain.

    Args:
        max_bytes: Largest size of one image in bytes.
        timeout: Time in seconds in which a client has to send it.

    Attributes:
        size: Size of all images that are in memory, in bytes.
    """

    def __init__(self, max_bytes: int, timeout: float) -> None:
        self._max_bytes, self._timeout = max_bytes, timeout
        self.size = 0

    @asynccontextmanager
    async def read(self, request: Any) -> AsyncIterator[bytearray]:
        """Read the image of a request, which counts as part of `size` until the end of the context.

        Args:
            request: Request of Starlette.

        Raises:
            RefusalError: Body that is empty, too large or too slow; or no room for it.
        """
        body = bytearray()
        try:
            try:
                await asyncio.wait_for(self._fill(request, body), self._timeout)
            except asyncio.TimeoutError:  # TimeoutError from Python 3.11 on
                raise RefusalError(408, f"the image did not arrive within {self._timeout:g} s", CLOSE) from None
            yield body
        finally:
            self.size -= len(body)

    async def _fill(self, request: Any, body: bytearray) -> None:
        stream = request.stream()
        is_large = int(request.headers.get("content-length", "0")) > self._max_bytes  # uvicorn accepts digits alone
        while not is_large and (chunk := await anext(stream, b"")):
            is_large = len(body) + len(chunk) > self._max_bytes
            if self.size + len(chunk) > BUDGET * self._max_bytes:
                raise RefusalError(503, "too many images arrive at once; send it again", RETRY | CLOSE)
            self.size += len(chunk)
            body += chunk
        if is_large:
            self.size -= len(body)
            body.clear()
            if request.headers.get("expect", "").lower() != "100-continue":
                await _discard(stream)
            raise RefusalError(413, f"the image is larger than {self._max_bytes} bytes; make it smaller", CLOSE)
        if not body:
            raise RefusalError(400, "the request has no body; expected an image file")


async def _discard(stream: Any) -> None:
    """Read and drop the rest of a body, for a limited time."""

    async def drop() -> None:
        async for _ in stream:
            pass

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(drop(), DISCARD_SECONDS)
