"""How result files are named."""

from __future__ import annotations

import re

from fer_edge.machine import cores, cpu_name


def machine_slug() -> str:
    """The processor and how many of its cores may be used, as part of a file's name: `amd-epyc-2cores`."""
    return f"{re.sub('[^a-z0-9]+', '-', cpu_name().lower()).strip('-')}-{cores()}cores"
