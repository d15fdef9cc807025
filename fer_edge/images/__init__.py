"""Decoding of files, bytes and streams to RGB arrays."""

from fer_edge.images.decode import FORMATS, MAX_FILE_BYTES, MAX_PIXELS, read_image

__all__ = ["FORMATS", "MAX_FILE_BYTES", "MAX_PIXELS", "read_image"]
