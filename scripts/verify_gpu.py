"""On a machine with an NVIDIA GPU: run all that needs one and write gpu-report.json, to be attached to an issue.

    python3 scripts/verify_gpu.py [tensorrt] [tensorrt-rtx]

Default: both; on Jetson tensorrt, which JetPack brings. Makes .venv where there is none. On Windows: py scripts/...
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "gpu-report.json"
JETSON = Path("/etc/nv_tegra_release").exists()
PRODUCTS = ["tensorrt"] if JETSON else ["tensorrt", "tensorrt-rtx"]


def extras(products: list[str], *, jetson: bool) -> str:
    """What to install of fer-edge; on Jetson TensorRT itself is the system's."""
    return ",".join([*([] if jetson else products), "cuda"])


def main() -> int:
    """Install, describe the machine, run the tests; returns pytest's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("products", nargs="*", metavar="product", help=f"some of: {', '.join(PRODUCTS)}")
    products: list[str] = parser.parse_args().products or PRODUCTS
    if unknown := set(products) - set(PRODUCTS):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of: {', '.join(PRODUCTS)}")
    place = ROOT / ".venv"
    python = str(place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    if not Path(python).exists() or JETSON:  # on Jetson again, to let the system's packages in
        venv.create(place, with_pip=True, system_site_packages=JETSON)
    pip = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "-r", "requirements-dev.txt"], cwd=ROOT, check=True)
    subprocess.run([*pip, "-e", f".[{extras(products, jetson=JETSON)}]"], cwd=ROOT, check=True)
    subprocess.run([python, "-m", "fer_edge", "doctor"], cwd=ROOT, check=True)
    tests = [python, "-m", "pytest", "-q", "tests/gpu", "tests/engines/tensorrt"]
    environment = {**os.environ, "FER_EDGE_GPU_REPORT": str(REPORT)}
    status = subprocess.run(tests, cwd=ROOT, env=environment, check=False).returncode
    if REPORT.exists():
        print(f"wrote {REPORT}; please attach it to an issue, also when tests fail")
    return status


if __name__ == "__main__":
    sys.exit(main())
