"""Signatures of bundles in the C library: the same files are accepted and refused as in Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.signing import sign_bundle, signature_path
from tests.native.library import (
    SANITIZERS,
    SOURCE,
    Library,
    NativeError,
    has_openssl,
    require_mono,
    run,
    runtime_library,
)
from tests.signatures import (
    STATEMENTS,
    WRONG,
    change_signature,
    payload_of,
    public_key,
    sign_payload,
    signed_bundle,
    write_pair,
    write_wrong,
)
from tests.tiny import tiny_bundle

ARGUMENT, SIGNATURE = 1, 8  # fer_status

pytestmark = pytest.mark.skipif(not has_openssl(), reason="needs the headers of OpenSSL: scripts/test-native")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a signed bundle beside `key.pem` and `key.pub`."""
    return signed_bundle(tmp_path)


def refuse(library: Library, bundle: Path, expected: str, key: Path | None = None, status: int = SIGNATURE) -> None:
    """Check that a bundle is refused, from its path and in memory."""
    pem = (key or public_key(bundle)).read_bytes()
    with pytest.raises(NativeError, match=expected) as caught:
        library.open_signed(bundle, pem)
    assert caught.value.status == status
    signature = signature_path(bundle)
    if signature.is_file():
        with pytest.raises(NativeError) as caught:
            library.open_signed(bundle.read_bytes(), pem, signature.read_bytes())
        assert caught.value.status == status


def test_signed_bundle_opens_by_its_key(library: Library, engine: str, bundle: Path) -> None:
    pem = public_key(bundle).read_bytes()
    with library.open_signed(bundle, pem, engine=engine) as recognizer:
        assert recognizer.labels == ["neutral", "happiness", "surprise"]
    with library.open_signed(bundle.read_bytes(), pem, signature_path(bundle).read_bytes(), engine) as recognizer:
        assert recognizer.labels == ["neutral", "happiness", "surprise"]


def test_unsigned_bundle_is_refused(library: Library, bundle: Path) -> None:
    signature_path(bundle).unlink()
    refuse(library, bundle, r"tiny\.fer is not signed: .*tiny\.fer\.sig cannot be read")


def test_other_key_is_refused(library: Library, bundle: Path, tmp_path: Path) -> None:
    private, other = write_pair(tmp_path, "other")
    refuse(library, bundle, "was made by another key", other)
    hint = json.loads(signature_path(bundle).read_bytes())["verificationMaterial"]["publicKey"]["hint"]
    sign_bundle(bundle, private)
    change_signature(bundle, lambda values: values["verificationMaterial"]["publicKey"].update(hint=hint))
    refuse(library, bundle, "is not by the public key, or was changed")


def test_changed_bundle_is_refused(library: Library, bundle: Path) -> None:
    tiny_bundle(bundle, labels=("neutral", "surprise", "happiness"))
    refuse(library, bundle, "differs from the file that was signed")


def test_replayed_signature_is_refused(library: Library, bundle: Path) -> None:
    other = tiny_bundle(bundle.with_name("other.fer"), labels=("neutral", "surprise", "happiness"))
    shutil.copy(signature_path(bundle), signature_path(other))
    refuse(library, other, r"is the signature of another file, tiny\.fer, and not of .*other\.fer")


@pytest.mark.parametrize("name", WRONG)
def test_wrong_signature_file_is_refused(library: Library, bundle: Path, name: str) -> None:
    write_wrong(bundle, name)
    refuse(library, bundle, "is not the signature|more than 65536 bytes|is not by the public key|other mediaType")


@pytest.mark.parametrize("part", STATEMENTS)
def test_signed_statement_of_another_kind_is_refused(library: Library, bundle: Path, part: bytes) -> None:
    sign_payload(bundle, payload_of(bundle).replace(part, STATEMENTS[part]))
    refuse(library, bundle, "is not on the SHA-256 of one file")


def test_statement_that_contradicts_itself_is_refused(library: Library, bundle: Path) -> None:
    statement = json.loads(payload_of(bundle))
    statement["subject"][0]["digest"]["sha256"] = "0" * 64
    sign_payload(bundle, json.dumps(statement).encode())
    refuse(library, bundle, "contradicts itself")


def test_wrong_keys_are_refused(library: Library, bundle: Path, tmp_path: Path) -> None:
    _, other = write_pair(tmp_path, "other", ec.SECP384R1())
    for key in (other, bundle.with_name("key.pem"), bundle):
        refuse(library, bundle, "is not an ECDSA key on P-256 in PEM", key, ARGUMENT)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(min_value=0), bit=st.integers(0, 7), in_signature=st.booleans())
def test_any_flipped_bit_is_refused(library: Library, bundle: Path, place: int, bit: int, in_signature: bool) -> None:
    files = [bytearray(bundle.read_bytes()), bytearray(signature_path(bundle).read_bytes())]
    files[in_signature][place % len(files[in_signature])] ^= 1 << bit
    with pytest.raises(NativeError) as caught:
        library.open_signed(bytes(files[0]), public_key(bundle).read_bytes(), bytes(files[1]))
    assert caught.value.status == SIGNATURE


@pytest.mark.slow
@pytest.mark.skipif(bool(SANITIZERS), reason="Mono does not run under AddressSanitizer")
def test_csharp_opens_signed_bundles(library: Library, bundle: Path, tmp_path: Path) -> None:
    require_mono()
    sources = [Path(__file__).parent / "signed.cs", SOURCE / "csharp" / "FerEdge.cs"]
    run("mcs", "-langversion:7", "-warnaserror", f"-out:{tmp_path}/signed.exe", *sources)
    if "onnxruntime" in library.engines:
        (tmp_path / "libonnxruntime.so.1").symlink_to(runtime_library())
    environment = {"LD_LIBRARY_PATH": f"{library.path.parent}:{tmp_path}", "LC_ALL": "C.UTF-8"}
    command = ("mono", tmp_path / "signed.exe", bundle, public_key(bundle))
    assert run(*command, environment=environment) == "neutral happiness surprise\n"
    signature_path(bundle).unlink()
    assert run(*command, environment=environment).startswith(f"8 {bundle} is not signed: ")
