"""Fixtures of the tests of faces."""

from tests.faces.conftest import networks

__all__ = ["networks"]
