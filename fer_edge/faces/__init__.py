"""Faces in frames: detection, landmarks, and alignment for the recognizer."""
