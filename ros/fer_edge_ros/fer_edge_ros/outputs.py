"""Publishers of each face, which live as long as the face."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from hri_msgs.msg import Expression as ExpressionMessage
from hri_msgs.msg import NormalizedRegionOfInterest2D
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.qos import qos_policy_name_from_kind
from sensor_msgs.msg import Image
from std_msgs.msg import Float32MultiArray

from fer_edge.crop import crop_and_resize
from fer_edge_ros.topics import FACES, OUTPUT_QOS

if TYPE_CHECKING:
    from rclpy.event_handler import QoSOfferedIncompatibleQoSInfo
    from rclpy.node import Node
    from std_msgs.msg import Header

    from fer_edge import Expression, Face
    from fer_edge_ros.messages import MessageWriter
    from fer_edge_ros.pixels import Pixels
    from fer_edge_ros.report import Report

CROP_SIZE = 128  # side of published face crops in pixels, the default of REP-155's face detector


class FaceOutput:
    """Publishers of one face.

    Args:
        node: Active node.
        face_id: Identifier of the face.
        writer: Converter of expressions.
        report: Counts.
        with_image: Whether to publish the face itself too: region and crop.
    """

    def __init__(self, node: Node, face_id: str, writer: MessageWriter, report: Report, *, with_image: bool) -> None:
        self._node, self._writer, self._report = node, writer, report
        events = PublisherEventCallbacks(incompatible_qos=self._on_incompatible_qos)

        def publisher(name: str, kind: type[Any]) -> Any:
            return node.create_publisher(kind, f"{FACES}/{face_id}/{name}", OUTPUT_QOS, event_callbacks=events)

        self._expression = publisher("expression", ExpressionMessage)
        self._probabilities = publisher("expression_probabilities", Float32MultiArray)
        self._publishers = [self._expression, self._probabilities]
        if with_image:
            self._region = publisher("roi", NormalizedRegionOfInterest2D)
            self._crop = publisher("cropped", Image)
            self._publishers += [self._region, self._crop]

    def publish(self, header: Header, expression: Expression) -> None:
        """Publish an expression.

        Args:
            header: Header of the image.
            expression: Expression of the face.
        """
        self._probabilities.publish(self._writer.probabilities(expression))
        self._expression.publish(self._writer.expression(header, expression))

    def publish_image(self, header: Header, face: Face, pixels: Pixels) -> None:
        """Publish region and crop of a face; only with `with_image`.

        Args:
            header: Header of the camera image.
            face: Face in it.
            pixels: Camera image.
        """
        height, width = pixels.frame.shape[:2]
        x, y, box_width, box_height = face.box
        region = NormalizedRegionOfInterest2D(header=header, c=float(face.score))
        region.xmin, region.xmax = (min(max(value / width, 0.0), 1.0) for value in (x, x + box_width))
        region.ymin, region.ymax = (min(max(value / height, 0.0), 1.0) for value in (y, y + box_height))
        self._region.publish(region)
        if self._crop.get_subscription_count():
            crop = crop_and_resize(pixels.frame, face.box, CROP_SIZE)
            message = Image(header=header, height=CROP_SIZE, width=CROP_SIZE, step=3 * CROP_SIZE)
            message.encoding, message.data = f"{pixels.color}8", array("B", crop.tobytes())
            self._crop.publish(message)

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)

    def _on_incompatible_qos(self, event: QoSOfferedIncompatibleQoSInfo) -> None:
        reason = (
            f"a subscription requests another {qos_policy_name_from_kind(event.last_policy_kind)} than the node "
            "offers; expected VOLATILE, RELIABLE or BEST_EFFORT"
        )
        self._report.count("incompatible", reason)
        self._node.get_logger().warning(reason)
