"""Size of the page of `fer-edge web`, and the time to its first result in headless Chromium.

    PYTHONPATH=. .venv/bin/python benchmarks/web_page.py [BUNDLE] [--repeats 5] [--threads]

The page is served from this machine to a browser without a cache, so that the times exclude the network; the sizes
show what it adds. A camera from a file shows the photograph of an astronaut at 640 x 480 and 30 Hz. Times are those of
the page itself, from the start of its loading: `ready` is the model's, `first result` that of the first frame in which a face
is recognised, less the time that the camera took to start. `frame` is the work of the device for one frame, `latency` that from its presentation to its result.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

from fer_edge.environment import environment
from fer_edge.live.loopback import LoopbackServer
from fer_edge.results import Table
from fer_edge.tables import text_of_table
from fer_edge.web import make_site
