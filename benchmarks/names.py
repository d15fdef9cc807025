"""Names of result files."""

from __future__ import annotations

import re

from fer_edge.hardware.cpu import cores, cpu_name


def machine_slug() -> str:
    """Return the CPU and the number of cores that this process may use for a file name: `amd-epyc-2cores`."""
    return f"{re.sub('[^a-z0-9]+', '-', cpu_name().lower()).strip('-')}-{cores()}cores"
