"""Webhook: a request to a home automation or another web service when the label of a person changes."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from http.client import HTTPException
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec
from msgspec import Meta

from fer_edge.errors import ConfigError, shown
from fer_edge.live.output import Output, Update
from fer_edge.live.outputs import OUTPUTS, Note
from fer_edge.live.outputs.address import convert_options
from fer_edge.live.outputs.sender import NetworkOutput, Receiver

MAX_WAITING = 100  # people whose changes wait for a receiver that cannot be reached
Seconds = Annotated[float, Meta(ge=0, le=3600)]
Timeout = Annotated[float, Meta(gt=0, le=60)]


@dataclass(frozen=True)
class WebhookOptions:
    """Options of a webhook.

    Attributes:
        min_seconds: Time in seconds for which a label is shown before it is reported; 1 by default.
        timeout: Longest wait for the receiver in seconds; 5 by default.
    """

    min_seconds: Seconds = 1.0
    timeout: Timeout = 5.0


def make_webhook(target: str, labels: Sequence[str], note: Note) -> Output:
    """Make the output for a webhook.

    Args:
        target: URL: "webhook+http://HOST:PORT/PATH?min_seconds=2". Other parameters stay in the address of requests.
        labels: Labels of the model.
        note: Function that writes one sentence.

    Raises:
        ConfigError: Wrong URL or option.
    """
    form = OUTPUTS["webhook+http"].form
    try:
        parts = urlsplit(target.removeprefix("webhook+"))
        is_valid = bool(parts.hostname) and parts.port != 0 and target.isascii() and target.isprintable()
    except ValueError as error:
        raise ConfigError(f"the target {shown(target)} is not a URL: {error}; expected {form}") from error
    if not is_valid or " " in target:
        raise ConfigError(f"the target is {shown(target)}; expected {form}")
    names = {field.name for field in fields(WebhookOptions)}
    parameters = parse_qsl(parts.query, keep_blank_values=True)
    options = {name: value for name, value in parameters if name in names}
    query = urlencode([(name, value) for name, value in parameters if name not in names])
    place = parts.netloc.rpartition("@")[2]
    headers = {"Content-Type": "application/json", "User-Agent": "fer-edge"}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    # Without the path, which is the secret of a webhook in most programs.
    name = f"webhook+{parts.scheme}://{place}"
    url = urlunsplit((parts.scheme, place, parts.path or "/", query, ""))
    return Webhook(name, url, headers, convert_options(options, WebhookOptions, name), note)


class Changes:
    """Changes of the labels that people show; a label counts once it has been shown for a time.

    Args:
        min_seconds: This time in seconds.
    """

    def __init__(self, min_seconds: float) -> None:
        self._min_seconds = min_seconds
        self._reported: dict[int, str | None] = {}  # label by person, None before the first
        self._present: dict[int, tuple[str | None, float]] = {}  # label and its start in seconds by person

    def update(self, update: Update) -> list[dict[str, Any]]:
        """Return person, label and previous label of each change; the label of an absent person is None."""
        if update.frame is None:
            return []
        labels: dict[int, str | None] = dict.fromkeys(self._present)
        labels |= {person.track_id: person.expression.display_label for person in update.people}
        changes = []
        for person, label in labels.items():
            start = self._present.get(person, (None, update.time))
            if person not in self._present or start[0] != label:
                start = self._present[person] = label, update.time
            if update.time - start[1] < self._min_seconds:
                continue
            previous = self._reported.get(person)
            if label != previous:
                self._reported[person] = label
                changes.append({"person": person, "label": label, "previous": previous})
            if label is None:
                del self._present[person]
                self._reported.pop(person, None)
        return changes


class Webhook(NetworkOutput):
    """Output that posts the document of a frame when the label of a person has changed, with the change in `event`.

    Of each person, the newest change is sent; earlier ones are left out while the receiver cannot be reached.

    Args:
        name: Name of the receiver in messages.
        url: Address of the requests.
        headers: Their headers.
        options: Options.
        note: Function that writes one sentence.
    """

    def __init__(self, name: str, url: str, headers: dict[str, str], options: WebhookOptions, note: Note) -> None:
        self._changes = Changes(options.min_seconds)
        self._waiting = _Waiting()
        super().__init__(name, lambda: _Poster(url, headers, options.timeout, self._waiting), note, rate=None)

    def send(self, update: Update) -> None:
        changes = self._changes.update(update)
        for change in changes:
            self._waiting.add(change["person"], {**update.document, "event": change})
        if changes:
            super().send(update)


class _Waiting:
    """Documents that wait to be sent, the newest one of each of the latest people."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._documents: dict[int, dict[str, Any]] = {}

    def add(self, person: int, document: dict[str, Any]) -> None:
        with self._lock:
            self._documents.pop(person, None)  # so that the order is that of the changes
            self._documents[person] = document
            if len(self._documents) > MAX_WAITING:
                del self._documents[next(iter(self._documents))]

    def first(self) -> tuple[int, dict[str, Any]] | None:
        with self._lock:
            return next(iter(self._documents.items()), None)

    def remove(self, person: int, document: dict[str, Any]) -> None:
        """Remove a document, unless a newer one has replaced it."""
        with self._lock:
            if self._documents.get(person) is document:
                del self._documents[person]


class _Poster(Receiver):
    """Sender of the documents that wait."""

    def __init__(self, url: str, headers: dict[str, str], timeout: float, waiting: _Waiting) -> None:
        self._url, self._headers, self._timeout, self._waiting = url, headers, timeout, waiting
        self._opener = build_opener(_NoRedirect)

    def send(self, update: Update) -> None:
        while (entry := self._waiting.first()) is not None:
            person, document = entry
            self._post(msgspec.json.encode(document))
            self._waiting.remove(person, document)

    def _post(self, body: bytes) -> None:
        try:
            with self._opener.open(Request(self._url, body, self._headers), timeout=self._timeout) as response:
                response.read(1 << 16)
        except HTTPError as error:
            error.close()
            raise OSError(f"the answer is {error.code} {error.reason}") from error
        except URLError as error:
            raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from error
        except HTTPException as error:
            if isinstance(error, OSError):  # a connection that was closed
                raise
            raise OSError(f"the answer is not HTTP: {error}") from error


class _NoRedirect(HTTPRedirectHandler):
    """Refusal of redirects, which would turn the request into one without the document."""

    def redirect_request(self, *arguments: Any) -> None:
        return None
