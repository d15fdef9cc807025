"""NumPy's start where few threads are allowed, as in a container with a limit on its processes.

The BLAS library of NumPy's wheels starts a thread for each processor when it is imported. If the system starts no more,
it interrupts the process as Ctrl-C would. One thread is enough for what fer-edge computes with NumPy itself.

Importing this module is enough; the package does so before anything else.
"""

from __future__ import annotations

import os
import sys

from fer_edge.cgroups import process_limit

FEW = 256  # processes and threads of the user or container; machines have fewer processors
VARIABLE = "OPENBLAS_NUM_THREADS"


def spare_threads() -> None:
    """Have NumPy start without threads of its own where few are allowed, unless the user chose their number."""
    if "numpy" not in sys.modules and VARIABLE not in os.environ and _limit() < FEW:
        os.environ[VARIABLE] = "1"


def _limit() -> float:
    limit = process_limit()
    limits = [] if limit is None else [float(limit)]
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    except (ImportError, AttributeError, OSError):  # systems without such a limit
        return min(limits, default=float("inf"))
    return min([*limits, float("inf") if soft == resource.RLIM_INFINITY else float(soft)])


spare_threads()
