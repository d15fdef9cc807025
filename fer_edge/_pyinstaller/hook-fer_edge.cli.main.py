"""Commands of `fer-edge`, which are imported by name, for whoever freezes the command itself."""

from fer_edge.cli.main import COMMANDS

hiddenimports = [f"fer_edge.cli.{name.replace('-', '_')}" for name in COMMANDS]
