"""TensorRT and TensorRT-RTX: one way to build, one way to run, and one table of what each version can do."""
