"""OpenVINO: engine and runner, passes over its graphs, and profiler."""
