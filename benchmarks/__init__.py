"""Benchmarks of fer-edge and of other software on the same task."""
