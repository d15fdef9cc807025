"""PyInstaller hook for apps that benchmark: scenarios are imported by name."""

from PyInstaller.utils.hooks import collect_submodules

hiddenimports = collect_submodules("fer_edge.benchmark.scenarios")
