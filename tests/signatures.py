"""Keys, and forged signatures of bundles."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from fer_edge.signing import MAX_BYTES, pre_authentication_bytes, sign_bundle, signature_path
from tests.tiny import tiny_bundle


def write_pair(folder: Path, name: str = "key", curve: ec.EllipticCurve | None = None) -> tuple[Path, Path]:
    """Write a new pair of keys, and return the paths of the private and the public key."""
    private = ec.generate_private_key(curve or ec.SECP256R1())
    paths = folder / f"{name}.pem", folder / f"{name}.pub"
    paths[0].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    paths[1].write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return paths


def signed_bundle(folder: Path) -> Path:
    """Write a signed bundle beside `key.pem` and `key.pub`."""
    path = tiny_bundle(folder / "tiny.fer")
    sign_bundle(path, write_pair(folder)[0])
    return path


def public_key(bundle: Path) -> Path:
    return bundle.with_name("key.pub")


def change_signature(bundle: Path, change: Callable[[Any], object]) -> None:
    path = signature_path(bundle)
    values = json.loads(path.read_bytes())
    change(values)
    path.write_text(json.dumps(values))


def payload_of(bundle: Path) -> bytes:
    return base64.b64decode(json.loads(signature_path(bundle).read_bytes())["dsseEnvelope"]["payload"])


def sign_payload(bundle: Path, payload: bytes) -> None:
    """Replace the statement by another one, with a valid signature by the same key."""
    key = load_pem_private_key(bundle.with_name("key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(pre_authentication_bytes(payload), ec.ECDSA(SHA256()))

    def change(values: Any) -> None:
        envelope = values["dsseEnvelope"]
        envelope["payload"] = base64.b64encode(payload).decode()
        envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()

    change_signature(bundle, change)


# Content of a signature file, or a change of its JSON, and the message in Python.
WRONG: dict[str, tuple[bytes | Callable[[Any], object], str]] = {
    "empty": (b"", "is not the signature"),
    "text": (b"untrusted comment: minisign", "is not the signature"),
    "bytes": (b"\xff\xfe", "is not the signature"),
    "list": (b"[]", "is not the signature"),
    "deep": (b'{"verificationMaterial":{"publicKey":{"hint":""},"tlogEntries":' + b"[" * 20000, "is not the signature"),
    "large": (b" " * (MAX_BYTES + 1), "has more than 65536 bytes"),
    "certificate": (
        lambda values: values["verificationMaterial"].update(certificate={"rawBytes": ""}),
        "unknown field `certificate`",
    ),
    "other version": (lambda values: values.update(mediaType="application/json"), "Invalid enum value"),
    "two signatures": (lambda values: values["dsseEnvelope"]["signatures"].append({"sig": ""}), "length <= 1"),
    "no signature": (lambda values: values["dsseEnvelope"].update(signatures=[]), "length >= 1"),
    "loose base64": (
        lambda values: values["dsseEnvelope"].update(payload=values["dsseEnvelope"]["payload"] + "\n"),
        "contains invalid base64",
    ),
    "empty signature": (
        lambda values: values["dsseEnvelope"].update(signatures=[{"sig": ""}]),
        r"is not by .*key\.pub, or was changed",
    ),
}


def write_wrong(bundle: Path, name: str) -> None:
    """Write one of the wrong signature files."""
    change = WRONG[name][0]
    if isinstance(change, bytes):
        signature_path(bundle).write_bytes(change)
    else:
        change_signature(bundle, change)


# Changes of a signed statement.
STATEMENTS = {
    b'"algorithm": "sha256"': b'"algorithm": "blake2b"',
    b"https://in-toto.io/Statement/v1": b"https://in-toto.io/Statement/v0",
    b"https://model_signing/signature/v1.0": b"https://slsa.dev/provenance/v1",
    b'"resources": [': b'"resources": [{"name": "x", "algorithm": "sha256", "digest": "' + b"0" * 64 + b'"}, ',
}
