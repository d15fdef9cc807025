"""Commands of `fer-edge`, which are imported by name, for whoever freezes the command itself."""

from fer_edge.cli.main import COMMANDS, module_name

hiddenimports = [module_name(command) for command in COMMANDS]
