"""PyInstaller hook for freezing the `fer-edge` command: its subcommands are imported by name."""

from PyInstaller.utils.hooks import collect_submodules

hiddenimports = collect_submodules("fer_edge.cli")
