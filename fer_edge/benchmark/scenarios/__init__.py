"""Scenarios of the benchmark: one module each, with its measurement, its result and the text of the result."""
