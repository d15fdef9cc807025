"""Single-threaded BLAS for NumPy under a low process limit, for example in a container.

The BLAS library of NumPy's wheels starts one thread per processor on import. If the system refuses to start a thread,
the library interrupts the process like a Ctrl-C. fer-edge's own NumPy code needs one thread only.

Importing this module has the effect; the package imports it first.
"""

from __future__ import annotations

import os
import sys

from fer_edge.hardware.limits import process_limit

LOW_LIMIT = 256  # processes and threads of the user or container; more than the processors of usual machines
VARIABLE = "OPENBLAS_NUM_THREADS"


def limit_blas_threads() -> None:
    """Limit NumPy's BLAS to one thread under a low process limit, unless the user has set the number of threads."""
    if "numpy" not in sys.modules and VARIABLE not in os.environ and _process_limit() < LOW_LIMIT:
        os.environ[VARIABLE] = "1"


def _process_limit() -> float:
    limit = process_limit()
    limits = [] if limit is None else [float(limit)]
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    except (ImportError, AttributeError, OSError):  # systems without such a limit
        return min(limits, default=float("inf"))
    return min([*limits, float("inf") if soft == resource.RLIM_INFINITY else float(soft)])


limit_blas_threads()
