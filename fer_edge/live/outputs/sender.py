"""Network outputs: a thread that sends the newest update, at a limited rate, and connects again after errors."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

from fer_edge._text import one_line
from fer_edge.errors import FerEdgeError
from fer_edge.live.output import Output, Update
from fer_edge.live.outputs import Note

FIRST_WAIT, LONGEST_WAIT = 0.5, 5.0  # seconds before the next attempt after an error; doubled each time
JOIN_SECONDS = 5.0  # longest wait for the thread at the end


class Receiver(ABC):
    """Connection to the receiver of a network output; only the thread of the output uses it."""

    @abstractmethod
    def send(self, update: Update) -> None:
        """Send one update.

        Args:
            update: The newest update; the same one again if `repeat` of the output is over without a new one.

        Raises:
            OSError: Receiver that cannot be reached.
            FerEdgeError: Receiver that refused the update.
        """

    def close(self) -> None:  # noqa: B027  may be left out
        """Release the connection; called after the last update, and after an error."""


class NetworkOutput(Output):
    """Output that sends the newest update in a thread of its own, so that a slow receiver never delays a frame.

    Updates that arrive faster than the rate, or while the receiver cannot be reached, are replaced by newer ones.

    Args:
        name: Name of the receiver in messages, "osc://127.0.0.1:9000".
        connect: Function that connects to the receiver. It is called in the thread, again after each error, and may
            raise what `Receiver.send` may raise.
        note: Function that writes one sentence when the receiver fails, and when it works again.
        rate: Largest number of updates per second; None: without limit.
        repeat: Time in seconds after which the last update is sent again if there is no newer one; None: never.
        settle: Time in seconds without an error after which a receiver that had failed counts as working; 0 by default.
            For protocols such as UDP, in which an error is reported after the send that caused it.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Receiver],
        note: Note,
        *,
        rate: float | None,
        repeat: float | None = None,
        settle: float = 0.0,
    ) -> None:
        self._name, self._connect, self._note = name, connect, note
        self._period = 0.0 if rate is None else 1 / rate
        self._repeat, self._settle = repeat, settle
        self._changed = threading.Condition()
        self._latest: Update | None = None
        self._is_new = self._is_closed = False
        self._failure: float | None = None  # time of the last error; None while the receiver works
        self._sent = 0.0  # time of the last update that was sent
        self._thread = threading.Thread(target=self._run, name=f"output {name}", daemon=True)

    def open(self, title: str) -> None:
        self._thread.start()

    def send(self, update: Update) -> None:
        with self._changed:
            self._latest, self._is_new = update, True
            self._changed.notify()

    def close(self) -> None:
        """Send the newest update if it was not sent yet, and end the thread; may be called several times."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread.ident is None:
            return
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            logging.getLogger("fer_edge").warning("%s does not respond; its thread is still waiting", self._name)

    def _run(self) -> None:
        receiver: Receiver | None = None
        due, wait = 0.0, FIRST_WAIT
        while (update := self._take(due)) is not None:
            now = time.monotonic()
            try:
                if receiver is None:
                    receiver = self._connect()
                receiver.send(update)
            except (OSError, FerEdgeError) as error:
                self._report_failure(error)
                _close(receiver)
                receiver = None
                due, wait = time.monotonic() + wait, min(2 * wait, LONGEST_WAIT)
                continue
            self._sent = now
            # A send that is late by less than a period does not delay those after it.
            due = (due if now < due + self._period else now) + self._period
            if self._report_success(now):
                wait = FIRST_WAIT
        _close(receiver)

    def _take(self, due: float) -> Update | None:
        """Wait for the next update to send, and return it; return None at the end.

        Args:
            due: Earliest time for it, on the monotonic clock.
        """
        with self._changed:
            while not self._is_closed:
                timeout = None
                if self._latest is not None and (self._is_new or self._repeat is not None):
                    moment = due if self._is_new else max(due, self._sent + (self._repeat or 0))
                    timeout = moment - time.monotonic()
                    if timeout <= 0:
                        break
                self._changed.wait(timeout)
            if self._is_closed and (not self._is_new or self._failure is not None):
                return None
            self._is_new = False
            return self._latest

    def _report_failure(self, error: Exception) -> None:
        with self._changed:
            self._is_new = True  # the update was not received
        if self._failure is None:
            reason = getattr(error, "strerror", None) or one_line(str(error))
            self._note(f"{self._name}: {reason}; trying again")
        self._failure = time.monotonic()

    def _report_success(self, now: float) -> bool:
        """Return whether the receiver works, and report it after a failure."""
        if self._failure is not None:
            if now - self._failure < self._settle:
                return False
            self._failure = None
            self._note(f"{self._name}: working again")
        return True


def _close(receiver: Receiver | None) -> None:
    if receiver is not None:
        with suppress(OSError, FerEdgeError):
            receiver.close()
