"""Endurance suite: faults at every call on files and sockets, and long runs; `scripts/endure` runs it."""
