"""Live recognition: the loop from a video source to its outputs, a page in the browser, and text in a terminal."""

from fer_edge.live.output import Output, Update
from fer_edge.live.session import LiveSession, LiveSummary

__all__ = ["LiveSession", "LiveSummary", "Output", "Update"]
