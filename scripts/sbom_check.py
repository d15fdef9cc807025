"""Comparison of the running environment with an SBOM of `scripts/sbom.py environment`.

    python sbom_check.py fer-edge-live.cdx.json

Needs only Python, so that it can be copied to a device; run it with the Python of the environment. Exits with 1 if a
package is missing, additional or of another version, or a file of the wheel is missing or has another hash.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Any

TOOLS = {"pip", "setuptools", "wheel"}  # in every virtual environment
PREFIX = "pkg:pypi/"


def differences(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each difference between an SBOM and this environment.

    Args:
        document: SBOM as plain data.
    """
    expected = dict(_packages(document["components"]))
    present = {_normalised(package.name): package.version for package in distributions() if package.metadata["Name"]}
    lines = [
        f"{name}: {present.get(name, 'missing')}; the SBOM has {expected.get(name, 'no such package')}"
        for name in sorted({*expected, *present})
        if present.get(name) != expected.get(name) and name not in TOOLS
    ]
    return [*lines, *_wrong_files(document["components"])]


def _packages(components: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the name and the version of each package."""
    for component in components:
        if component.get("purl", "").startswith(PREFIX):
            yield _normalised(component["name"]), component["version"]


def _wrong_files(components: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each file of the wheel that is missing or has another hash."""
    try:
        package = distribution("fer-edge")
    except PackageNotFoundError:
        return
    for component in _with_files(components):
        expected = {entry["content"] for entry in component["hashes"] if entry["alg"] == "SHA-256"}
        for place in component["evidence"]["occurrences"]:
            path = Path(str(package.locate_file(place["location"])))
            if not path.is_file():
                yield f"{place['location']}: missing in {path.parent}"
            elif hashlib.sha256(path.read_bytes()).hexdigest() not in expected:
                yield f"{place['location']}: another SHA-256 than in the SBOM"


def _with_files(components: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for component in components:
        if component.get("evidence", {}).get("occurrences"):
            yield component
        yield from _with_files(component.get("components", ()))


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: Sequence[str]) -> int:
    """Print the differences, and return the exit code."""
    if len(arguments) != 1:
        print("usage: python sbom_check.py SBOM", file=sys.stderr)
        return 2
    document = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    lines = differences(document)
    for line in lines:
        print(line)
    print(f"{len(lines)} differences" if lines else f"this environment is that of {arguments[0]}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
