"""Camera images: faces found, followed and published as REP-155 requires, with their expressions."""

from __future__ import annotations

import random
import string
import threading
import time
from typing import TYPE_CHECKING

from hri_msgs.msg import IdsList
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from fer_edge_ros.outputs import FaceOutput
from fer_edge_ros.settings import COMPRESSED
from fer_edge_ros.source import FaceSource
from fer_edge_ros.topics import OUTPUT_QOS, TRACKED, newest

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.subscription import Subscription

    from fer_edge import ExpressionTracker
    from fer_edge_ros.messages import MessageWriter
    from fer_edge_ros.pixels import Pixels
    from fer_edge_ros.report import Report
    from fer_edge_ros.settings import Settings

STALE_SECONDS = 2.0  # without an image after which no face is tracked any more


class CameraSource(FaceSource):
    """Source of faces from camera images.

    Args:
        node: Active node.
        report: Counts.
        tracker: Open tracker.
        writer: Converter of expressions.
        settings: Parameters.
    """

    def __init__(
        self, node: Node, report: Report, tracker: ExpressionTracker, writer: MessageWriter, settings: Settings
    ) -> None:
        super().__init__(node, report)
        self._tracker, self._writer = tracker, writer
        # Identifiers differ after a restart, since other nodes associate persons with them.
        self._prefix = "".join(random.choices(string.ascii_lowercase, k=4))
        self._outputs: dict[str, FaceOutput] = {}
        self._lock = threading.Lock()  # of the outputs, which worker and executor change
        self._frame_id = ""  # of the last image
        self._time = time.monotonic()  # of the last image
        self._tracked = node.create_publisher(IdsList, TRACKED, OUTPUT_QOS)
        self._topic = node.resolve_topic_name(settings.image_topic)
        self._kind = CompressedImage if settings.image_transport == COMPRESSED else Image
        self._images = self._subscribe(self._offered_reliability())

    def face_count(self) -> int:
        """Return the number of people that are tracked."""
        return len(self._outputs)

    def check(self) -> str:
        """Request the reliability that the publishers offer, and remove all faces if there are no images."""
        reliability = self._offered_reliability()
        if self._images.qos_profile.reliability != reliability:
            self._node.destroy_subscription(self._images)
            self._images = self._subscribe(reliability)
        if self._node.count_publishers(TRACKED) > 1:
            return f"another node publishes {TRACKED}: stop the face detector, or leave image_topic empty"
        seconds = time.monotonic() - self._time
        if seconds < STALE_SECONDS:
            return ""
        with self._lock:
            if self._outputs:
                self._publish_none()
        if not self._node.count_publishers(self._topic):
            return f"no publisher of {self._topic}: start the camera, or change image_topic"
        return f"no image on {self._topic} for {seconds:.0f} s: is image_transport that of the publisher?"

    def close(self) -> None:
        """Destroy subscription and publishers, and end the worker."""
        self._node.destroy_subscription(self._images)
        self._worker.close()
        if self._node.context.ok():
            self._publish_none()
        for output in self._outputs.values():
            output.destroy()
        self._node.destroy_publisher(self._tracked)

    def _subscribe(self, reliability: ReliabilityPolicy) -> Subscription[Image | CompressedImage]:
        return self._node.create_subscription(
            self._kind, self._topic, self._on_image, newest(reliability), event_callbacks=self._events
        )

    def _offered_reliability(self) -> ReliabilityPolicy:
        """Return the best reliability that all publishers offer.

        With best effort, Fast DDS loses most images above 512 kB, which do not fit into its shared memory.
        """
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        offered = {publisher.qos_profile.reliability for publisher in publishers}
        return ReliabilityPolicy.RELIABLE if offered == {ReliabilityPolicy.RELIABLE} else ReliabilityPolicy.BEST_EFFORT

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._time = time.monotonic()
        self._accept(self._topic, message)

    def _process(self, key: str, header: Header, pixels: Pixels, arrival: float) -> None:
        people = self._tracker.update(pixels.frame, color=pixels.color)
        with self._lock:
            self._frame_id = header.frame_id
            self._publish_ids(header, [f"{self._prefix}{person.track_id}" for person in people])
            for person in people:
                if person.fresh:
                    output = self._outputs[f"{self._prefix}{person.track_id}"]
                    output.publish_image(header, person.face, pixels)
                    output.publish(header, person.expression)
        for expression in (person.expression for person in people if person.fresh):
            self._report.count_result(time.monotonic() - arrival, expression.warning, is_certain=expression.certain)

    def _publish_ids(self, header: Header, ids: list[str]) -> None:
        """Publish the identifiers of the faces, and create and destroy the publishers of each face."""
        for face_id in self._outputs.keys() - set(ids):
            self._outputs.pop(face_id).destroy()
        for face_id in ids:
            if face_id not in self._outputs:
                self._outputs[face_id] = FaceOutput(self._node, face_id, self._writer, self._report, with_image=True)
        self._tracked.publish(IdsList(header=header, ids=ids))

    def _publish_none(self) -> None:
        """Publish that no face is tracked, at the present time."""
        self._publish_ids(Header(stamp=self._node.get_clock().now().to_msg(), frame_id=self._frame_id), [])
