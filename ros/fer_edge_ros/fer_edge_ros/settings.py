"""Parameters of the node."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_topic_name import validate_topic_name

from fer_edge.errors import ConfigError, shown
from fer_edge_ros.messages import DERIVED, NEXT_BEST, UNLISTED_LABELS, VALENCE_AROUSAL

if TYPE_CHECKING:
    from rclpy.node import Node

RAW, COMPRESSED = "raw", "compressed"
CROPPED, ALIGNED = "cropped", "aligned"
RATE = "processing_rate"  # the only parameter that is not read-only


def _parameter(default: object, description: str, **limits: Any) -> Any:
    """Return the field of a parameter; `limits` are `range` (smallest and largest value) or `choices`."""
    return field(default=default, metadata={"description": description, **limits})


@dataclass(frozen=True)
class Settings:
    """Values of the read-only parameters."""

    bundle: str = _parameter("edge", "Path of a bundle, or edge, the shipped one")
    engine: str = _parameter("", "Engine of the bundle: openvino, onnxruntime, ...; empty: the first that runs here")
    threads: int = _parameter(1, "Number of CPU threads of each network; 0: the default of the engine", range=(0, 256))
    image_topic: str = _parameter(
        "",
        "Topic of camera images, in which the node finds and follows faces; empty: the faces are those of a REP-155 "
        "face detector, /humans/faces/tracked",
    )
    image_transport: str = _parameter(
        RAW,
        "Type of the camera images: raw (sensor_msgs/Image), or compressed (sensor_msgs/CompressedImage)",
        choices=(RAW, COMPRESSED),
    )
    face_image: str = _parameter(
        CROPPED, "Topic of the images of a detected face, below /humans/faces/ID", choices=(CROPPED, ALIGNED)
    )
    faces: int = _parameter(
        8,
        "Largest number of faces: further faces of a face detector are ignored, those in camera images take turns",
        range=(1, 64),
    )
    smoothing: bool = _parameter(True, "Whether the probabilities of each face are smoothed over time")
    valence_arousal: str = _parameter(
        DERIVED, "Valence and arousal: derived from the probabilities, zero or nan", choices=VALENCE_AROUSAL
    )
    unlisted_labels: str = _parameter(
        NEXT_BEST,
        "Labels without a constant in hri_msgs/Expression, such as contempt: next-best publishes the most probable "
        "label with a constant, publish the label itself",
        choices=UNLISTED_LABELS,
    )
    autostart: bool = _parameter(False, "Whether the node configures and activates itself on start")


def declare_parameters(node: Node) -> None:
    """Declare all parameters.

    Raises:
        rclpy.exceptions.ParameterException: Override with another type, or out of range.
    """
    for parameter in fields(Settings):
        metadata = parameter.metadata
        descriptor = ParameterDescriptor(description=metadata["description"], read_only=True)
        if "range" in metadata:
            smallest, largest = metadata["range"]
            descriptor.integer_range = [IntegerRange(from_value=smallest, to_value=largest, step=1)]
        if "choices" in metadata:
            descriptor.additional_constraints = f"one of: {', '.join(metadata['choices'])}"
        node.declare_parameter(parameter.name, parameter.default, descriptor)
    description = "Largest number of images per second that are processed of each face, or of the camera; 0: all"
    limits = FloatingPointRange(from_value=0.0, to_value=1000.0)
    node.declare_parameter(RATE, 0.0, ParameterDescriptor(description=description, floating_point_range=[limits]))


def read_settings(node: Node) -> Settings:
    """Return the values of the read-only parameters.

    Raises:
        ConfigError: Text that is not one of the choices, or not the name of a topic.
    """
    settings = Settings(**{parameter.name: node.get_parameter(parameter.name).value for parameter in fields(Settings)})
    for parameter in fields(Settings):
        value, choices = getattr(settings, parameter.name), parameter.metadata.get("choices")
        if choices is not None and value not in choices:
            raise ConfigError(f"parameter {parameter.name} is {shown(value)}; expected one of: {', '.join(choices)}")
    if settings.image_topic:
        try:
            validate_topic_name(settings.image_topic)
        except InvalidTopicNameException as error:
            raise ConfigError(f"parameter image_topic: {' '.join(str(error).split())}") from error
    return settings
