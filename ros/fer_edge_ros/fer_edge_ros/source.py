"""Interface of the two sources of faces, and what they share: worker, rate, checks, and errors."""

from __future__ import annotations

import time
import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import qos_policy_name_from_kind

from fer_edge.errors import FerEdgeError, ImageError, InputError
from fer_edge_ros.pixels import Pixels, read_pixels
from fer_edge_ros.settings import RATE
from fer_edge_ros.worker import Worker

if TYPE_CHECKING:
    from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo
    from rclpy.node import Node
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header

    from fer_edge_ros.report import Report

THROTTLE_SECONDS = 10.0  # between two equal kinds of warnings in the log


@dataclass(frozen=True)
class Arrival:
    """Image message, and the time of its arrival by `time.monotonic`."""

    message: Image | CompressedImage
    time: float


class FaceSource(ABC):
    """Source of faces: from subscriptions to published expressions.

    Images arrive in the thread of the executor, which hands the newest to the worker and returns at once.

    Args:
        node: Active node.
        report: Counts.
    """

    def __init__(self, node: Node, report: Report) -> None:
        self._node, self._report = node, report
        self._log = node.get_logger()
        self._due: dict[str, float] = {}  # time of the next image by key, with a processing_rate
        self._worker: Worker[Arrival] = Worker(self._process_safely)
        self._events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos)

    @abstractmethod
    def face_count(self) -> int:
        """Return the number of faces that are followed."""

    @abstractmethod
    def check(self) -> str:
        """Remove what has vanished; called about once a second in the thread of the executor.

        Returns:
            Problem for the diagnostics; empty without one.
        """

    @abstractmethod
    def close(self) -> None:
        """Destroy subscriptions and publishers, and end the worker."""

    @abstractmethod
    def _process(self, key: str, header: Header, pixels: Pixels, arrival: float) -> None:
        """Recognise the faces of an image, and publish their expressions; called in the thread of the worker.

        Args:
            key: Key of `_accept`.
            header: Header of the image.
            pixels: Image.
            arrival: Time of its arrival, of `time.monotonic`.

        Raises:
            FerEdgeError: Image that is refused, or failure of an engine.
        """

    def _accept(self, key: str, message: Image | CompressedImage) -> None:
        """Hand an image to the worker.

        Args:
            key: Identifier of the face, or of the camera; a newer image replaces one of the same key.
            message: Image.
        """
        self._report.count("received")
        now = time.monotonic()
        if not self._is_due(key, now):
            self._report.count("skipped")
        elif self._worker.put(key, Arrival(message, now)):
            self._report.count("replaced")

    def _is_due(self, key: str, now: float) -> bool:
        rate: float = self._node.get_parameter(RATE).value
        if rate == 0:
            return True
        due = self._due.get(key, now)
        if now < due:
            return False
        # In steps of the interval, so that the mean rate is that of the parameter in spite of jitter.
        self._due[key] = due + 1 / rate if now - due < 1 / rate else now + 1 / rate
        return True

    def _process_safely(self, key: str, arrival: Arrival) -> None:
        """Process an image; an error concerns that image only."""
        try:
            self._process(key, arrival.message.header, read_pixels(arrival.message), arrival.time)
        except (ImageError, InputError) as error:
            self._refuse(f"{key}: {error}")
        except FerEdgeError as error:
            self._report.count("failed", str(error))
            self._log.error(f"{key}: {error}", throttle_duration_sec=THROTTLE_SECONDS)
        except Exception as error:  # the thread must survive an error in one image
            if not self._node.context.ok():  # a signal ended rclpy while the image was processed
                return
            self._report.count("failed", f"{type(error).__name__}: {error}")
            self._log.error(f"{key}: {traceback.format_exc()}", throttle_duration_sec=THROTTLE_SECONDS)

    def _refuse(self, reason: str) -> None:
        self._report.count("refused", reason)
        self._log.warning(f"message refused: {reason}", throttle_duration_sec=THROTTLE_SECONDS)

    def _on_incompatible_qos(self, event: QoSRequestedIncompatibleQoSInfo) -> None:
        reason = (
            f"a publisher offers another {qos_policy_name_from_kind(event.last_policy_kind)} than the node requests"
        )
        self._report.count("incompatible", reason)
        self._log.warning(reason)
