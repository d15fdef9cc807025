"""Calibration: activation ranges, and the search for layers that have to stay in float.

ONNX Runtime's `quantize_static`, given the same nodes, reaches the same accuracy (docs/quantisation.md). This package
and `graph` add a ranges file that rebuilds the graph bit for bit, int8 layers in a float16 graph, and a search that
measures the sensitivity of every layer.
"""
