"""Signatures of bundles, in the format of OpenSSF model signing: a file `MODEL.fer.sig` beside the bundle.

It is a sigstore bundle in JSON: a DSSE envelope with an in-toto statement on the SHA-256 of the whole file, signed by
ECDSA on P-256. The package `model_signing` reads and writes the same files.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from fer_edge import _typed
from fer_edge._archive import check_path, read_bundle, read_content
from fer_edge._files import as_path, sha256, write_atomically
from fer_edge._require import require
from fer_edge._text import one_line
from fer_edge.errors import ConfigError, SignatureError, shown
from fer_edge.results import Result

PublicKey: TypeAlias = str | os.PathLike[str] | bytes  # path of a PEM file, or its content
SUFFIX = ".sig"
MAX_BYTES = 64 << 10  # of a signature or key; real ones have less than 2 KiB
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
PAIR = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
PUBLIC = "openssl pkey -in key.pem -pubout -out key.pub"
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
T = TypeVar("T")


class _KeyHint(Struct, forbid_unknown_fields=True):
    hint: Digest  # SHA-256 of the public key's PEM


class _Material(Struct, forbid_unknown_fields=True, rename="camel"):
    public_key: _KeyHint
    tlog_entries: Annotated[list[Any], Meta(max_length=0)]  # of a transparency log, which keys do not use


class _EnvelopeSignature(Struct, forbid_unknown_fields=True):
    sig: str  # base64
    keyid: Literal[""] = ""


class _Envelope(Struct, forbid_unknown_fields=True, rename="camel"):
    payload: str  # base64
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[list[_EnvelopeSignature], Meta(min_length=1, max_length=1)]


class _SignatureFile(Struct, forbid_unknown_fields=True, rename="camel"):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: _Envelope


class _Digests(Struct):
    sha256: Digest


class _Subject(Struct):
    name: str
    digest: _Digests  # SHA-256 of the digests of all resources


class _Resource(Struct):
    name: str
    algorithm: Literal["sha256"]
    digest: Digest


class _Predicate(Struct):  # its specification demands that unknown fields are ignored
    resources: Annotated[list[_Resource], Meta(min_length=1, max_length=1)]


class _Statement(Struct, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: Literal["https://in-toto.io/Statement/v1"]
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    subject: Annotated[list[_Subject], Meta(min_length=1, max_length=1)]
    predicate: _Predicate


@dataclass(frozen=True)
class SignedBundle(Result):
    """Bundle whose signature was made or verified."""

    bundle: Path
    signature: Path
    sha256: str  # of the bundle
    key: str  # SHA-256 of the public key's PEM
    new: bool  # whether the signature was made now

    def notes(self) -> list[str]:
        """Return one sentence."""
        if self.new:
            return [f"wrote {self.signature}; keep it beside {self.bundle.name}"]
        return [f"{self.bundle} was signed by this key (SHA-256 {self.key}) and is unchanged"]


def sign_bundle(path: str | os.PathLike[str], private_key: str | os.PathLike[str]) -> SignedBundle:
    """Sign a bundle: write `MODEL.fer.sig` beside it. An earlier signature is replaced.

    Args:
        path: Bundle (`.fer`), whose members are checked first.
        private_key: PEM file with an ECDSA P-256 private key, which is not encrypted; may be a pipe.

    Raises:
        BundleError: File that is not a bundle, or is damaged.
        ConfigError: Key that cannot be used.
        EngineUnavailableError: Package `cryptography` that is not installed.
        FerEdgeError: Signature that cannot be written.
    """
    private = _load_private_key(private_key)
    file = check_path(path)
    content = read_content(file)
    read_bundle(file, content)
    digest, signature = sha256(content), signature_path(file)
    write_atomically(signature, _make_signature(file.name, digest, private))
    return SignedBundle(file, signature, digest, _hint(private.public_key()), new=True)


def verify_bundle(path: str | os.PathLike[str], signed_by: PublicKey) -> SignedBundle:
    """Verify the signature of a bundle, and check its members.

    Args:
        path: Bundle (`.fer`), with its signature beside it.
        signed_by: PEM file with the public key, or its content.

    Raises:
        SignatureError: Signature that is missing, invalid, by another key, or of another file.
        BundleError: File that cannot be read, is not a bundle, or is damaged.
        ConfigError: Key that cannot be used.
        EngineUnavailableError: Package `cryptography` that is not installed.
    """
    file = check_path(path)
    key, title = _load_public_key(signed_by)
    content = _read_signed(file, key, title)
    read_bundle(file, content)
    return SignedBundle(file, signature_path(file), sha256(content), _hint(key), new=False)


def read_signed(path: Path, signed_by: PublicKey) -> bytes:
    """Read a file once, verify its signature, and return its content.

    Args:
        path: Bundle, with its signature beside it.
        signed_by: PEM file with the public key, or its content.

    Raises:
        SignatureError: Signature that is missing, invalid, by another key, or of another file.
        BundleError: File that cannot be read.
        ConfigError: Key that cannot be used.
        EngineUnavailableError: Package `cryptography` that is not installed.
    """
    return _read_signed(path, *_load_public_key(signed_by))


def signature_path(path: Path) -> Path:
    """Return the path of the signature of a bundle."""
    return path.with_name(path.name + SUFFIX)


def pre_authentication_bytes(payload: bytes) -> bytes:
    """Return the bytes that are signed in a DSSE envelope ("PAE"): type and payload with their lengths."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _read_signed(path: Path, key: Any, title: str) -> bytes:
    signature = signature_path(path)
    statement = _verified_statement(_read_signature(signature, path), signature, key, title)
    content = read_content(path)
    _check_content(statement, sha256(content), signature, path)
    return content


def _make_signature(name: str, digest: str, private: Any) -> bytes:
    """Return the content of a signature file.

    Args:
        name: File name of the bundle, for messages of those who verify it.
        digest: SHA-256 of the bundle.
        private: Private key.
    """
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": sha256(bytes.fromhex(digest))}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
            "resources": [{"name": ".", "algorithm": "sha256", "digest": digest}],
        },
    }
    payload = json.dumps(statement).encode()
    signature = private.sign(pre_authentication_bytes(payload), _ecdsa())
    file = _SignatureFile(
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        _Material(_KeyHint(_hint(private.public_key())), []),
        _Envelope(b64encode(payload).decode(), PAYLOAD_TYPE, [_EnvelopeSignature(b64encode(signature).decode())]),
    )
    return msgspec.json.encode(file)


def _read_signature(path: Path, bundle: Path) -> _SignatureFile:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            raise SignatureError(f"the signature {path} is not a regular file; fetch it again")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise SignatureError(
            f"{bundle} is not signed: there is no {path}; fetch the signature too, or sign the bundle with: "
            f"fer-edge bundle sign {bundle} --private-key key.pem"
        ) from error
    except OSError as error:
        raise SignatureError(f"the signature {path} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise SignatureError(f"{path} has more than {MAX_BYTES} bytes; expected the signature of one bundle")
    return _decode(content, _SignatureFile, path)


def _verified_statement(file: _SignatureFile, path: Path, key: Any, title: str) -> _Statement:
    """Return the signed statement, after its signature was verified.

    Args:
        file: Content of the signature file.
        path: Its path, for messages.
        key: Public key.
        title: Description of the key for messages.

    Raises:
        SignatureError: Signature by another key, or that does not fit the statement.
    """
    hint, own = file.verification_material.public_key.hint, _hint(key)
    if hint != own:
        raise SignatureError(
            f"{path} was made by another key (SHA-256 {hint}); expected {title} (SHA-256 {own}): "
            "fetch the bundle from its author, or pass the author's key"
        )
    payload = _decode_base64(file.dsse_envelope.payload, path)
    signature = _decode_base64(file.dsse_envelope.signatures[0].sig, path)
    try:
        key.verify(signature, pre_authentication_bytes(payload), _ecdsa())
    except require("cryptography.exceptions", "signing", "a signature").InvalidSignature as error:
        raise SignatureError(
            f"the signature in {path} is not by {title}, or was changed; fetch bundle and signature again"
        ) from error
    return _decode(payload, _Statement, path)


def _check_content(statement: _Statement, digest: str, path: Path, bundle: Path) -> None:
    """Compare the SHA-256 of a bundle with the statement.

    Raises:
        SignatureError: Statement about another content.
    """
    subject, signed = statement.subject[0], statement.predicate.resources[0].digest
    if subject.digest.sha256 != sha256(bytes.fromhex(signed)):
        raise SignatureError(f"{path} contradicts itself: its subject is not its resource; sign the bundle again")
    if signed == digest:
        return
    if subject.name != bundle.name:
        raise SignatureError(
            f"{path} is the signature of another file, {shown(subject.name)} (SHA-256 {signed}), and not of {bundle}; "
            "fetch the bundle's own signature"
        )
    raise SignatureError(
        f"{bundle} differs from the file that was signed (SHA-256 {signed}; the file has {digest}); "
        "fetch bundle and signature again"
    )


def _decode(content: bytes, kind: type[T], path: Path) -> T:
    """Decode JSON of a signature.

    Raises:
        SignatureError: Content of another form.
    """
    try:
        return _typed.decode_json(content, kind)
    except _typed.JSON_ERRORS as error:
        raise SignatureError(
            f"{path} is not the signature of one file by a key in the format of OpenSSF model signing: "
            f"{one_line(str(error))}; fetch it again"
        ) from error


def _decode_base64(text: str, path: Path) -> bytes:
    """Decode base64 in its only canonical form, so that no two files have the same meaning.

    Raises:
        SignatureError: Text of another form.
    """
    try:
        content = b64decode(text, validate=True)
    except ValueError:
        content = b""
    if b64encode(content).decode() != text:
        raise SignatureError(f"{path} contains invalid base64; fetch it again")
    return content


def _load_private_key(key: str | os.PathLike[str]) -> Any:
    path = as_path(key, "the private key", ConfigError)
    content = _read_key(path)
    serialization = _serialization()
    try:
        private = serialization.load_pem_private_key(content, None)
    except TypeError as error:
        raise ConfigError(
            f"{path} is encrypted; pass the key by a pipe: --private-key <(openssl pkey -in {path})"
        ) from error
    except Exception as error:  # the package documents no base class: ValueError, UnsupportedAlgorithm and others
        raise ConfigError(
            f"{path} is not a private key in PEM: {one_line(str(error))}; make one with: {PAIR}"
        ) from error
    _check_curve(private, f"{path}")
    return private


def _load_public_key(key: PublicKey) -> tuple[Any, str]:
    """Return a public key, and its description for messages."""
    if isinstance(key, bytes):
        content, title = key, "the public key"
    else:
        path = as_path(key, "the public key", ConfigError)
        content, title = _read_key(path), f"{path}"
    if b"PRIVATE KEY-----" in content:
        raise ConfigError(f"{title} is a private key; expected the public one, from: {PUBLIC}")
    serialization = _serialization()
    try:
        public = serialization.load_pem_public_key(content)
    except Exception as error:  # as for private keys
        raise ConfigError(
            f"{title} is not a public key in PEM: {one_line(str(error))}; make one with: {PUBLIC}"
        ) from error
    _check_curve(public, title)
    return public, title


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the key {path} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"the key {path} has more than {MAX_BYTES} bytes; expected a key in PEM")
    return content


def _check_curve(key: Any, title: str) -> None:
    if getattr(getattr(key, "curve", None), "name", "") != "secp256r1":
        raise ConfigError(f"{title} is not an ECDSA key on P-256; make one with: {PAIR}")


def _hint(key: Any) -> str:
    """Return the SHA-256 of a public key's PEM, by which signatures name their key."""
    serialization = _serialization()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _serialization() -> Any:
    return require("cryptography.hazmat.primitives.serialization", "signing", "a signature")


def _ecdsa() -> Any:
    curves = require("cryptography.hazmat.primitives.asymmetric.ec", "signing", "a signature")
    return curves.ECDSA(require("cryptography.hazmat.primitives.hashes", "signing", "a signature").SHA256())
