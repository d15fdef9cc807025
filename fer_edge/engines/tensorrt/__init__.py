"""TensorRT and TensorRT-RTX: shared builder and runner, and a table of the features of each version."""
