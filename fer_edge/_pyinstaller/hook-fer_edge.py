"""What PyInstaller cannot see in fer_edge: data files, and modules that are imported by name.

Of the engines, those that are installed are collected, with their native libraries. To leave one out:
`--exclude-module onnxruntime`.
"""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs

from fer_edge.engines.registry import ENGINE_MODULES, PROFILER_MODULES

ENGINES = ("openvino", "onnxruntime")  # packages with native libraries that are loaded by name

datas = collect_data_files("fer_edge", includes=["**/*.fer", "**/*.toml", "**/*.json"])
hiddenimports = [*ENGINE_MODULES.values(), *PROFILER_MODULES.values()]
binaries = []
for engine in ENGINES:
    if find_spec(engine) is not None:
        hiddenimports.append(engine)
        binaries += collect_dynamic_libs(engine, search_patterns=["*.dll", "*.dylib", "lib*.so", "lib*.so.*"])
