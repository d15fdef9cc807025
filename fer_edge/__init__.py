"""Facial expression recognition on the device: bundles and recognizers, without torch."""

__version__ = "0.1.0"
