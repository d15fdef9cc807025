"""PyInstaller hook: the layouts of data sets are imported by name."""

from PyInstaller.utils.hooks import collect_submodules

hiddenimports = collect_submodules("fer_edge.data.layouts")
