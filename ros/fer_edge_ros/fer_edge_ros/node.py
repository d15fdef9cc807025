"""Lifecycle node: parameters, transitions, diagnostics."""

from __future__ import annotations

import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile

from fer_edge import Bundle, ExpressionTracker, OneEuro, Recognizer
from fer_edge.errors import FerEdgeError
from fer_edge.faces.smoothing import HYSTERESIS
from fer_edge.shipped import path_or_shipped
from fer_edge_ros.camera import CameraSource
from fer_edge_ros.crops import CropSource
from fer_edge_ros.messages import MessageWriter
from fer_edge_ros.report import ERROR, WARN, Report
from fer_edge_ros.settings import Settings, declare_parameters, read_settings
from fer_edge_ros.source import FaceSource
from fer_edge_ros.topics import DIAGNOSTICS, TRACKED

NAME = "fer_edge_expression"
STATUS_SECONDS = 1.0  # from status to status


@dataclass
class Model:
    """Parts that configuration opens, and its parameters.

    Attributes:
        settings: Parameters.
        recognizer: Open recognizer.
        tracker: Open tracker for camera images; None: faces come from a face detector.
        writer: Converter of expressions to messages.
        resources: Recognizer and tracker, to be closed.
    """

    settings: Settings
    recognizer: Recognizer
    tracker: ExpressionTracker | None
    writer: MessageWriter
    resources: ExitStack


def open_model(settings: Settings) -> Model:
    """Open bundle, engine, and the face networks for camera images.

    Raises:
        FerEdgeError: Bundle, engine or parameter that cannot be used.
    """
    bundle = Bundle.open(path_or_shipped("bundle", settings.bundle))
    writer = MessageWriter(
        bundle.manifest.labels,
        unlisted_labels=settings.unlisted_labels,
        valence_arousal=settings.valence_arousal,
    )
    engine, threads = settings.engine or None, settings.threads or None
    has_camera = bool(settings.image_topic)
    with ExitStack() as stack:
        batch = min(settings.faces, bundle.manifest.max_batch) if has_camera else 1
        recognizer = stack.enter_context(Recognizer.open(bundle, engine, threads, faces=batch))
        tracker = None
        if has_camera:
            tracker = ExpressionTracker.open(
                recognizer=recognizer,
                engine=engine,
                threads=threads,
                faces=settings.faces,
                smoothing=OneEuro() if settings.smoothing else None,
                hysteresis=HYSTERESIS if settings.smoothing else 0.0,
            )
            stack.callback(tracker.close)
        return Model(settings, recognizer, tracker, writer, stack.pop_all())


class ExpressionNode(LifecycleNode):
    """Node that publishes the expressions of faces.

    Configuration opens the model, activation subscribes to faces or camera images, deactivation destroys subscriptions
    and publishers, and clean-up closes the model.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(NAME, **arguments)
        declare_parameters(self)
        self._model: Model | None = None
        self._source: FaceSource | None = None
        self._report = Report()
        self._failure = ""  # why configuration or activation failed
        self._state = "unconfigured"
        self._diagnostics = self.create_publisher(DiagnosticArray, DIAGNOSTICS, QoSProfile(depth=1))
        # Steady time: a paused simulation must not stop the status.
        self._timer = self.create_timer(
            STATUS_SECONDS, self._publish_status, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model."""
        self._failure = ""
        try:
            self._model = open_model(read_settings(self))
        except FerEdgeError as error:
            self._failure = str(error)
            self.get_logger().error(f"cannot configure: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:
            return self._fail("configuration")
        recognizer, settings = self._model.recognizer, self._model.settings
        faces = f"camera images of {settings.image_topic}" if settings.image_topic else "faces of a face detector"
        self.get_logger().info(f"bundle {settings.bundle} on {recognizer.engine}; input: {faces}")
        self._state = "inactive"
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to faces or camera images."""
        assert self._model is not None
        model = self._model
        self._report = Report()
        try:
            if model.tracker is None:
                self._source = CropSource(self, self._report, model.recognizer, model.writer, model.settings)
            else:
                self._source = CameraSource(self, self._report, model.tracker, model.writer, model.settings)
        except Exception:
            return self._fail("activation")
        self._state = "active"
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Destroy subscriptions and publishers."""
        self._close_source()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the model."""
        self.close()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close everything."""
        self.close()
        self._state = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close everything, so that the node can be configured again."""
        self.close()
        super().on_error(state)
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Close source and model; may be called several times."""
        self._close_source()
        model, self._model = self._model, None
        if model is not None:
            model.resources.close()
        self._state = "unconfigured"

    def _close_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()
        self._state = "inactive"

    def _fail(self, step: str) -> TransitionCallbackReturn:
        """Report an unexpected exception, which rclpy would not show."""
        self._failure = f"{step} failed: {traceback.format_exc().splitlines()[-1]}"
        self.get_logger().fatal(f"{step} failed:\n{traceback.format_exc()}")
        return TransitionCallbackReturn.ERROR

    def _publish_status(self) -> None:
        problem, values = None, {}
        if self._failure:
            problem = (ERROR, self._failure)
        if self._model is not None:
            settings = self._model.settings
            values = {
                "bundle": settings.bundle,
                "engine": self._model.recognizer.engine,
                "input": settings.image_topic or TRACKED,
            }
        if self._source is not None:
            reason = self._source.check()
            problem = (WARN, reason) if reason else None
            values["faces"] = str(self._source.face_count())
        status = self._report.status(self._state, values, problem)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
