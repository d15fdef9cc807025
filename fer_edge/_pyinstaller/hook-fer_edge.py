"""PyInstaller hook: data files of fer_edge, and modules that it imports by name.

Every installed engine is collected with its native libraries. To exclude one: `--exclude-module onnxruntime`.
"""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs

from fer_edge.engines.registry import ENGINE_MODULES, engines
from fer_edge.live.outputs import OUTPUTS

datas = collect_data_files(
    "fer_edge", includes=["**/*.fer", "**/*.onnx", "**/*.toml", "**/*.json", "live/page/*", "web/**/*", "licences/*"]
)
hiddenimports = [
    *ENGINE_MODULES.values(),
    *(kind.function.partition(":")[0] for kind in OUTPUTS.values()),
    *(module for module in ("zeroconf",) if find_spec(module) is not None),
]
if find_spec("cryptography") is not None:  # modules that `fer_edge.signing` imports by name
    primitives = "cryptography.hazmat.primitives"
    hiddenimports += ["cryptography.exceptions", f"{primitives}.hashes", f"{primitives}.serialization"]
    hiddenimports.append(f"{primitives}.asymmetric.ec")
binaries = []
for package in (package for engine in engines() for package in engine.packages if package.loads_libraries):
    if find_spec(package.module) is not None:
        hiddenimports.append(package.module)
        binaries += collect_dynamic_libs(package.module, search_patterns=["*.dll", "*.dylib", "lib*.so", "lib*.so.*"])
