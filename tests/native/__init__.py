"""Tests of the C library in native/, which they build with CMake."""
