"""Images of files, bytes and streams as RGB arrays."""

from fer_edge.images.decode import FORMATS, MAX_FILE_BYTES, MAX_PIXELS, read_image

__all__ = ["FORMATS", "MAX_FILE_BYTES", "MAX_PIXELS", "read_image"]
