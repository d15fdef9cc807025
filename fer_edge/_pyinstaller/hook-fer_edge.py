"""PyInstaller hook: data files of fer_edge, and modules that it imports by name.

Every installed engine is collected with its native libraries. To exclude one: `--exclude-module onnxruntime`.
"""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs

from fer_edge.engines.registry import ENGINE_MODULES, PROFILER_MODULES

ENGINES = ("openvino", "onnxruntime")  # packages that load native libraries by name

datas = collect_data_files("fer_edge", includes=["**/*.fer", "**/*.onnx", "**/*.toml", "**/*.json"])
hiddenimports = [*ENGINE_MODULES.values(), *PROFILER_MODULES.values()]
binaries = []
for engine in ENGINES:
    if find_spec(engine) is not None:
        hiddenimports.append(engine)
        binaries += collect_dynamic_libs(engine, search_patterns=["*.dll", "*.dylib", "lib*.so", "lib*.so.*"])
