"""Benchmarks of bundles: scenarios of one bundle (`run`), comparison of several (`compare`) and reports."""
