"""The `fer-edge` command in the process of the tests: a new process would take seconds to import PyTorch."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
import warnings
from unittest import mock

from fer_edge.cli import entry


def fer_edge(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command and return its exit code and output.

    Tests of signals, closed streams, full disks and imports start a real process instead.
    """
    command = ["fer-edge", *map(str, arguments)]
    out, err = _text_stream(), _text_stream()
    logger, show_warning = logging.getLogger("fer_edge"), warnings.showwarning
    handlers, level = list(logger.handlers), logger.level
    try:
        with (
            mock.patch.object(sys, "argv", command),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = entry.run_command()
    finally:
        logger.handlers[:], warnings.showwarning = handlers, show_warning
        logger.setLevel(level)
    return subprocess.CompletedProcess(command, code, _text_of(out), _text_of(err))


def _text_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)


def _text_of(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()
