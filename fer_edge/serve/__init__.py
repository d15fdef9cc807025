"""Recognition as a service: images over HTTP, and frames of cameras over WebSockets."""

from fer_edge.serve.options import ServeOptions
from fer_edge.serve.server import FaceServer

__all__ = ["FaceServer", "ServeOptions"]
