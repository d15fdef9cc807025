"""Run the tests that need an NVIDIA GPU, and write gpu-report.json, which can be attached to an issue.

    python3 scripts/verify_gpu.py [tensorrt] [tensorrt-rtx]

Default: both products; on Jetson only tensorrt, which JetPack includes. Creates .venv if it does not exist.
On Windows: py scripts/verify_gpu.py
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
    """Return the extras of fer-edge to install; on Jetson, TensorRT is a system package."""
    return ",".join([*([] if jetson else products), "cuda"])


def main() -> int:
    """Install fer-edge, describe the machine and run the tests.

    Returns:
        pytest's exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("products", nargs="*", metavar="product", help=f"some of: {', '.join(PRODUCTS)}")
    products: list[str] = parser.parse_args().products or PRODUCTS
    if unknown := set(products) - set(PRODUCTS):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of: {', '.join(PRODUCTS)}")
    environment_folder = ROOT / ".venv"
    python = str(environment_folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    if not Path(python).exists() or JETSON:  # recreated on Jetson to include system packages
        venv.create(environment_folder, with_pip=True, system_site_packages=JETSON)
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
