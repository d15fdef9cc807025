"""Hardware of this machine: CPU, limits of control groups, GPUs, and the facts recorded with results."""
