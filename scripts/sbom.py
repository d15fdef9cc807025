"""SBOMs in CycloneDX 1.6, of the wheel's content and of the environments of its extras.

    python scripts/sbom.py content
    python scripts/sbom.py environment dist/fer_edge-0.1.0-py3-none-any.whl --extra live --extra serve -o sboms

The build hook writes the first into the wheel, as `.dist-info/sboms/fer-edge.cdx.json` (PEP 770). Equal inputs give
equal bytes: serial numbers come from the content, and there is no time, except that of SOURCE_DATE_EPOCH if it is set.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fetch_faces
import fetch_onnxruntime_web
from fetch_faces import sha256

if TYPE_CHECKING:
    from cyclonedx.model import HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License
    from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
NAME = "fer-edge"
FILE = f"{NAME}.cdx.json"
LICENCE = "MIT AND Apache-2.0"
# Files of the wheel that are data and not code, by path in the wheel; a clone has some of them elsewhere.
DATA = {
    "fer_edge/weights/edge.fer": ("edge, bundle", "fer_edge/weights/edge.fer"),
    "fer_edge/weights/edge-int8.fer": ("edge, bundle in int8", "fer_edge/weights/edge-int8.fer"),
    "fer_edge/weights/edge.safetensors": ("edge, checkpoint", "fer_edge/weights/edge.safetensors"),
    "fer_edge/weights/edge-tiny.fer": ("edge-tiny, bundle", "fer_edge/weights/edge-tiny.fer"),
    "fer_edge/weights/edge-tiny-int8.fer": ("edge-tiny, bundle in int8", "fer_edge/weights/edge-tiny-int8.fer"),
    "fer_edge/weights/edge-tiny.safetensors": ("edge-tiny, checkpoint", "fer_edge/weights/edge-tiny.safetensors"),
    "fer_edge/ranges/edge.json": ("edge, activation ranges", "calibration/edge.json"),
    "fer_edge/ranges/edge-tiny.json": ("edge-tiny, activation ranges", "calibration/edge-tiny.json"),
    "fer_edge/calibration_sets/ferplus-512.json": ("FERPlus, list of 512 images", "calibration/ferplus-512.json"),
}
MODELS = (".fer", ".safetensors")
FACES = "fer_edge/weights/faces"
WEB = "fer_edge/web/onnxruntime-web"
WEB_LICENCE = "fer_edge/web/LICENSE-onnxruntime-web"


def content_bom(root: Path = ROOT) -> Bom:
    """Return the SBOM of what the wheel contains besides fer-edge's own code.

    Args:
        root: The clone, after the files were fetched that are not in the repository. Files of onnxruntime-web may be
            missing, and are then not in the wheel either.

    Raises:
        RuntimeError: File with another hash than that it was fetched with.
    """
    from cyclonedx.model.bom import Bom

    bom = Bom()
    bom.metadata.component = _package(NAME, _version(root), LICENCE)
    for component in (*_face_networks(root), *_web_files(root), *_data_files(root)):
        bom.components.add(component)
    bom.register_dependency(bom.metadata.component, bom.components)
    return bom


def _face_networks(root: Path) -> Iterator[Component]:
    """Yield the converted face networks, with the TFLite models and packages that they come from."""
    from cyclonedx.model.component import Component, ComponentType, Pedigree

    for name, source in fetch_faces.SOURCES.items():
        network = _file(root, f"{FACES}/{name}.onnx", f"{FACES}/{name}.onnx", source.title, source.result)
        network.version = source.version
        network.licenses = [_licence(fetch_faces.LICENCE)]
        network.properties = [_property("licence", f"{FACES}/LICENSE")]
        package = _package(source.package, source.version)
        package.hashes = [_hash(source.wheel)]
        model = Component(name=source.member, type=ComponentType.MACHINE_LEARNING_MODEL, version=source.version)
        model.hashes, model.licenses = [_hash(source.model)], [_licence(fetch_faces.LICENCE)]
        network.pedigree = Pedigree(
            ancestors=[model, package], notes="converted from TFLite to ONNX by scripts/fetch_faces.py; equal weights"
        )
        yield network


def _web_files(root: Path) -> Iterator[Component]:
    """Yield onnxruntime-web with its files, if they are there."""
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    files = {Path(member).name: digest for member, digest in fetch_onnxruntime_web.FILES.items()}
    if not all((root / WEB / name).is_file() for name in files):
        return
    name, _, version = fetch_onnxruntime_web.PACKAGE.rpartition("@")
    yield Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=name,
        purl=PackageURL("npm", None, name, version),
        hashes=[_hash(fetch_onnxruntime_web.ARCHIVE)],
        licenses=[_licence(fetch_onnxruntime_web.LICENCE)],
        properties=[_property("licence", WEB_LICENCE)],
        components=[_file(root, f"{WEB}/{file}", f"{WEB}/{file}", file, digest) for file, digest in files.items()],
    )


def _data_files(root: Path) -> Iterator[Component]:
    """Yield the shipped model and what it was calibrated with."""
    with zipfile.ZipFile(root / "fer_edge/weights/edge.fer") as bundle:
        training = json.loads(bundle.read("manifest.json"))["checkpoint"]["provenance"]["data"]
    for path, (title, source) in DATA.items():
        component = _file(root, path, source, title, sha256((root / source).read_bytes()))
        component.version = _version(root)
        component.licenses = [_licence("MIT")]
        component.properties = [_property("licence", "fer_edge/licences/LICENSE")]
        if path.endswith(MODELS):
            component.description = f"trained on {training}; model card: fer_edge/weights/README.md"
        yield component


def _file(root: Path, path: str, source: str, title: str, digest: str) -> Component:
    """Return the component of one file.

    Args:
        root: The clone.
        path: Path in the wheel.
        source: Path in the clone.
        title: Name of the component.
        digest: Expected SHA-256.

    Raises:
        RuntimeError: File with another hash.
    """
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence

    fetch_faces.check(source, (root / source).read_bytes(), digest)
    is_model = path.endswith((*MODELS, ".onnx"))
    return Component(
        name=title,
        type=ComponentType.MACHINE_LEARNING_MODEL if is_model else ComponentType.FILE,
        bom_ref=path,
        hashes=[_hash(digest)],
        evidence=ComponentEvidence(occurrences=[Occurrence(location=path)]),
    )


def environment_document(report: Mapping[str, Any], extra: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the SBOM of an environment: all packages that pip installs for an extra, and the content of the wheel.

    Args:
        report: Report of `pip install --dry-run --report` for the wheel.
        extra: Name of the extra; empty for the core.
        content: SBOM of the wheel's content.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from packaging.requirements import Requirement

    bom, target = Bom(), report["environment"]
    packages: dict[str, Component] = {}
    requirements: dict[str, list[Requirement]] = {}
    for item in report["install"]:
        metadata = item["metadata"]
        licence = LICENCE if normalised(metadata["name"]) == NAME else _declared_licence(metadata)
        component = _package(metadata["name"], metadata["version"], licence)
        component.hashes = [_hash(item["download_info"]["archive_info"]["hashes"]["sha256"])]
        packages[normalised(metadata["name"])] = component
        requirements[normalised(metadata["name"])] = [Requirement(text) for text in metadata.get("requires_dist", ())]
        bom.components.add(component)
    title = f"{NAME}[{extra}]" if extra else NAME
    environment = Component(name=f"environment of {title}", type=ComponentType.APPLICATION, bom_ref="environment")
    environment.version = packages[NAME].version
    bom.metadata.component = environment
    bom.metadata.properties = [
        _property("python", target["python_full_version"]),
        _property("platform", f"{target['sys_platform']}-{target['platform_machine']}"),
    ]
    bom.register_dependency(environment, [packages[NAME]])
    for name, needed in _dependencies(requirements, target, {extra} if extra else set()).items():
        bom.register_dependency(packages[name], [packages[other] for other in sorted(needed)])
    document = _plain(bom)
    (package,) = (part for part in document["components"] if part["name"] == NAME)
    package["components"] = content["components"]
    return _with_serial(document)


def _dependencies(
    requirements: Mapping[str, Iterable[Requirement]], target: Mapping[str, str], extras: set[str]
) -> dict[str, set[str]]:
    """Return the packages that each package needs.

    Args:
        requirements: Requirements of each package.
        target: Values of the markers' variables.
        extras: Extras of fer-edge.
    """
    wanted: dict[str, set[str]] = {NAME: extras}
    needed: dict[str, set[str]] = {}
    queue = [NAME]
    while queue:
        name = queue.pop()
        active = [
            requirement
            for requirement in requirements[name]
            if normalised(requirement.name) in requirements
            and (
                requirement.marker is None
                or any(requirement.marker.evaluate({**target, "extra": extra}) for extra in {"", *wanted[name]})
            )
        ]
        for requirement in active:
            other = normalised(requirement.name)
            known = wanted.get(other)
            wanted[other] = (known or set()) | requirement.extras
            if known != wanted[other]:
                queue.append(other)
        needed[name] = {normalised(requirement.name) for requirement in active} - {name}
    return needed


def _declared_licence(metadata: Mapping[str, Any]) -> str:
    """Return the licence in a package's metadata: an SPDX expression, or a name; empty if there is none."""
    text = metadata.get("license_expression") or metadata.get("license") or ""
    if 0 < len(text) < 80 and "\n" not in text:
        return str(text)
    names = [line.rpartition(" :: ")[2] for line in metadata.get("classifier", ()) if line.startswith("License ::")]
    return ", ".join(names)


def _package(name: str, version: str, licence: str = "") -> Component:
    """Return the component of a package of PyPI."""
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    purl = PackageURL("pypi", None, normalised(name), version)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=purl.to_string(),
        purl=purl,
        licenses=[_licence(licence)] if licence else [],
    )


def _hash(digest: str) -> HashType:
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _licence(text: str) -> License:
    from cyclonedx.contrib.license.factories import LicenseFactory

    return LicenseFactory().make_from_string(text)


def _property(name: str, value: str) -> Property:
    from cyclonedx.model import Property

    return Property(name=f"{NAME}:{name}", value=value)


def _version(root: Path) -> str:
    """Return the version in pyproject.toml; Python 3.10 cannot read TOML."""
    match = re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert match is not None
    return match[1]


def normalised(name: str) -> str:
    """Return the name of a package as in purls and requirements: lower case, with single hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _plain(bom: Bom) -> dict[str, Any]:
    """Return an SBOM as plain data."""
    from cyclonedx.output.json import JsonV1Dot6

    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    return document


def _with_serial(document: dict[str, Any]) -> dict[str, Any]:
    """Replace time and random serial number: the number is made from the content."""
    del document["metadata"]["timestamp"], document["serialNumber"]
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isdigit():
        document["metadata"]["timestamp"] = datetime.fromtimestamp(int(epoch), timezone.utc).isoformat()
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return {**document, "serialNumber": f"urn:uuid:{serial}"}


def content_document(root: Path = ROOT) -> dict[str, Any]:
    """Return the SBOM of the wheel's content as plain data; arguments and errors as in `content_bom`."""
    return _with_serial(_plain(content_bom(root)))


def text_of(document: Mapping[str, Any]) -> str:
    """Return the content of a file of an SBOM."""
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def embedded_document(wheel: Path) -> dict[str, Any]:
    """Return the SBOM in a wheel.

    Raises:
        RuntimeError: Wheel without SBOM.
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(f".dist-info/sboms/{FILE}"):
                document: dict[str, Any] = json.loads(archive.read(name))
                return document
    raise RuntimeError(f"{wheel} has no .dist-info/sboms/{FILE}; build it again: python -m build --wheel")


def pip_report(wheel: Path, extra: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """Return pip's report on the packages that it would install; nothing is installed.

    Args:
        wheel: Wheel of fer-edge.
        extra: Name of the extra; empty for the core.
        options: Further options of `pip install`.

    Raises:
        RuntimeError: Packages that pip cannot find.
    """
    requirement = f"{wheel.resolve()}[{extra}]" if extra else str(wheel.resolve())
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--quiet"]
    command += ["--ignore-installed", "--report", "-", *options, requirement]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"pip found no packages for {requirement}; see its message")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the SBOMs that the command line names."""
    parser = argparse.ArgumentParser(description="SBOMs (CycloneDX 1.6) of fer-edge")
    commands = parser.add_subparsers(dest="command", required=True)
    content = commands.add_parser("content", help="content of the wheel, which contains this SBOM too")
    environment = commands.add_parser("environment", help="packages of an extra, as pip chooses them on this platform")
    environment.add_argument("wheel", type=Path, help="wheel of fer-edge")
    environment.add_argument("--extra", action="append", help="extra; repeat for several; default: the core")
    environment.add_argument("--pip", action="append", default=[], help="option of pip, as in --pip=--pre")
    for command in (content, environment):
        command.add_argument("-o", "--out", type=Path, default=Path(), help="folder; default: the working folder")
    chosen = parser.parse_args(arguments)
    if chosen.command == "content":
        _write(chosen.out / FILE, content_document())
        return
    inside = embedded_document(chosen.wheel)
    for extra in chosen.extra or [""]:
        document = environment_document(pip_report(chosen.wheel, extra, chosen.pip), extra, inside)
        _write(chosen.out / f"{NAME}-{extra or 'core'}.cdx.json", document)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_of(document), encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, ImportError, OSError) as error:
        sys.exit(f"error: no SBOM: {error}")
