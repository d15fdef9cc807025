"""Face networks, which tests of faces need."""

from __future__ import annotations

import os

import pytest

from fer_edge.errors import ConfigError
from fer_edge.shipped import face_network


def require_networks() -> None:
    """Skip without the face networks, except in CI."""
    try:
        face_network("detector"), face_network("landmarks")
    except ConfigError as error:
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            raise
        pytest.skip(str(error))
