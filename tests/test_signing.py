"""Signatures of bundles: made here, by openssl and by model_signing; forged, damaged and replayed ones."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_edge import Bundle, ExpressionTracker, Recognizer, _archive
from fer_edge._files import sha256
from fer_edge.errors import BundleDamagedError, BundleError, ConfigError, EngineUnavailableError, SignatureError
from fer_edge.signing import MAX_BYTES, pre_authentication_bytes, sign_bundle, signature_path, verify_bundle
from tests.command import fer_edge
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

MODEL_SIGNING = Path(__file__).parents[1] / "build" / "model-signing" / "bin" / "python"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a signed bundle beside `key.pem` and `key.pub`."""
    return signed_bundle(tmp_path)


def test_signed_bundle_opens_by_its_key(bundle: Path) -> None:
    result = verify_bundle(bundle, public_key(bundle))
    assert result.signature == bundle.with_name("tiny.fer.sig")
    opened = Bundle.open(bundle, signed_by=public_key(bundle))
    assert opened.read("model.onnx") == Bundle.open(bundle).read("model.onnx")
    with Recognizer.open(bundle, "onnxruntime", signed_by=public_key(bundle).read_bytes()) as recognizer:
        assert recognizer.recognize(np.zeros((112, 112, 3), np.uint8)).scores


def test_renamed_bundle_stays_signed(bundle: Path) -> None:
    moved = bundle.with_name("other.fer")
    bundle.rename(moved)
    signature_path(bundle).rename(signature_path(moved))
    verify_bundle(moved, public_key(bundle))


def test_verified_bytes_are_the_opened_bytes(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that is replaced after its signature was verified has no effect."""
    content = bundle.read_bytes()
    read_content = _archive.read_content

    def read_then_replace(path: Path) -> bytes:
        result = read_content(path)
        path.write_bytes(b"replaced")
        return result

    monkeypatch.setattr("fer_edge.signing.read_content", read_then_replace)
    opened = Bundle.open(bundle, signed_by=public_key(bundle))
    assert opened.read("model.onnx") in content
    assert bundle.read_bytes() == b"replaced"


def test_unsigned_bundle_is_refused(bundle: Path) -> None:
    signature_path(bundle).unlink()
    Bundle.open(bundle)
    with pytest.raises(SignatureError, match=r"tiny\.fer is not signed: there is no .*tiny\.fer\.sig; fetch"):
        Recognizer.open(bundle, signed_by=public_key(bundle))


def test_other_key_is_refused(bundle: Path, tmp_path: Path) -> None:
    _, other = write_pair(tmp_path, "other")
    with pytest.raises(SignatureError, match=r"made by another key .*expected .*other\.pub"):
        Bundle.open(bundle, signed_by=other)


def test_forged_hint_is_refused(bundle: Path, tmp_path: Path) -> None:
    """The hint names the expected key, but another one signed."""
    hint = json.loads(signature_path(bundle).read_bytes())["verificationMaterial"]["publicKey"]["hint"]
    private, _ = write_pair(tmp_path, "other")
    sign_bundle(bundle, private)
    change_signature(bundle, lambda values: values["verificationMaterial"]["publicKey"].update(hint=hint))
    with pytest.raises(SignatureError, match=r"is not by .*key\.pub, or was changed"):
        Bundle.open(bundle, signed_by=public_key(bundle))


def test_changed_statement_is_refused(bundle: Path) -> None:
    payload = base64.b64encode(payload_of(bundle).replace(b"tiny.fer", b"tinx.fer")).decode()
    change_signature(bundle, lambda values: values["dsseEnvelope"].update(payload=payload))
    with pytest.raises(SignatureError, match="or was changed"):
        Bundle.open(bundle, signed_by=public_key(bundle))


def test_rebuilt_bundle_is_refused(bundle: Path) -> None:
    """Another valid bundle at the same path: all of its hashes are right."""
    tiny_bundle(bundle, labels=("neutral", "surprise", "happiness"))
    Bundle.open(bundle)
    with pytest.raises(SignatureError, match="differs from the file that was signed"):
        Bundle.open(bundle, signed_by=public_key(bundle))


def test_replayed_signature_is_refused(bundle: Path) -> None:
    other = tiny_bundle(bundle.with_name("other.fer"), labels=("neutral", "surprise", "happiness"))
    shutil.copy(signature_path(bundle), signature_path(other))
    with pytest.raises(SignatureError, match=r"is the signature of another file, 'tiny\.fer' .*not of .*other\.fer"):
        Bundle.open(other, signed_by=public_key(bundle))


def test_signed_but_damaged_bundle_is_refused(tmp_path: Path) -> None:
    """The checks of the content follow the signature."""
    path = tiny_bundle(tmp_path / "tiny.fer")
    private, public = write_pair(tmp_path)
    sign_bundle(path, private)
    statement = json.loads(payload_of(path))
    content = path.read_bytes()[:-30]
    path.write_bytes(content)
    with pytest.raises(BundleDamagedError):
        sign_bundle(path, private)
    digest = sha256(content)
    statement["predicate"]["resources"][0]["digest"] = digest
    statement["subject"][0]["digest"]["sha256"] = sha256(bytes.fromhex(digest))
    sign_payload(path, json.dumps(statement).encode())
    with pytest.raises(BundleDamagedError, match="is not a bundle, or is truncated"):
        Bundle.open(path, signed_by=public)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(min_value=0), bit=st.integers(0, 7), in_signature=st.booleans())
def test_any_flipped_bit_is_refused(bundle: Path, place: int, bit: int, in_signature: bool) -> None:
    path = signature_path(bundle) if in_signature else bundle
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[place % len(content)] ^= 1 << bit
    path.write_bytes(damaged)
    try:
        with pytest.raises(SignatureError):
            Bundle.open(bundle, signed_by=public_key(bundle))
    finally:
        path.write_bytes(content)


@pytest.mark.slow
def test_every_flipped_byte_of_a_signature_is_refused(bundle: Path) -> None:
    path = signature_path(bundle)
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(SignatureError):
            verify_bundle(bundle, public_key(bundle))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_signature_file_is_refused_in_one_line(bundle: Path, name: str) -> None:
    write_wrong(bundle, name)
    with pytest.raises(SignatureError, match=WRONG[name][1]) as caught:
        Bundle.open(bundle, signed_by=public_key(bundle))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", STATEMENTS)
def test_signed_statement_of_another_kind_is_refused(bundle: Path, part: bytes) -> None:
    payload = payload_of(bundle)
    assert part in payload
    sign_payload(bundle, payload)
    verify_bundle(bundle, public_key(bundle))
    sign_payload(bundle, payload.replace(part, STATEMENTS[part]))
    with pytest.raises(SignatureError, match="is not the signature of one file"):
        verify_bundle(bundle, public_key(bundle))


def test_statement_that_contradicts_itself_is_refused(bundle: Path) -> None:
    statement = json.loads(payload_of(bundle))
    statement["subject"][0]["digest"]["sha256"] = "0" * 64
    sign_payload(bundle, json.dumps(statement).encode())
    with pytest.raises(SignatureError, match="contradicts itself"):
        verify_bundle(bundle, public_key(bundle))


@pytest.mark.parametrize("make", [Path.mkdir, getattr(os, "mkfifo", Path.mkdir)], ids=["folder", "pipe"])
def test_folder_and_pipe_in_place_of_a_signature_are_refused(bundle: Path, make: Callable[[Path], None]) -> None:
    signature_path(bundle).unlink()
    make(signature_path(bundle))
    with pytest.raises(SignatureError, match="is not a regular file"):
        verify_bundle(bundle, public_key(bundle))


def test_wrong_keys_are_named(bundle: Path, tmp_path: Path) -> None:
    private, public = write_pair(tmp_path, "p384", ec.SECP384R1())
    with pytest.raises(ConfigError, match=r"p384\.pub is not an ECDSA key on P-256"):
        Bundle.open(bundle, signed_by=public)
    with pytest.raises(ConfigError, match=r"p384\.pem is not an ECDSA key on P-256; make one with: openssl"):
        sign_bundle(bundle, private)
    with pytest.raises(ConfigError, match=r"key\.pem is a private key; expected the public one"):
        Bundle.open(bundle, signed_by=bundle.with_name("key.pem"))
    with pytest.raises(ConfigError, match=r"key\.pub is not a private key in PEM"):
        sign_bundle(bundle, public_key(bundle))
    with pytest.raises(ConfigError, match="the public key is not a public key in PEM"):
        Bundle.open(bundle, signed_by=b"")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Bundle.open(bundle, signed_by=tmp_path / "missing.pub")
    (tmp_path / "large.pub").write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="has more than 65536 bytes"):
        Bundle.open(bundle, signed_by=tmp_path / "large.pub")


def test_key_beside_an_open_bundle_or_recognizer_is_refused(bundle: Path) -> None:
    key = public_key(bundle)
    opened = Bundle.open(bundle)
    with pytest.raises(ConfigError, match=r"signed_by is set beside an open bundle; pass it to Bundle\.open"):
        Recognizer.open(opened, signed_by=key)
    with (
        Recognizer.open(opened, "onnxruntime") as recognizer,
        pytest.raises(ConfigError, match="signed_by is set beside recognizer"),
    ):
        ExpressionTracker.open(recognizer=recognizer, signed_by=key)
    signature_path(bundle).unlink()
    with pytest.raises(SignatureError, match="is not signed"):
        ExpressionTracker.open(bundle, signed_by=key)


def test_missing_package_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    with pytest.raises(
        EngineUnavailableError, match=r'a signature needs cryptography.*pip install "fer-edge\[signing]"'
    ):
        Bundle.open(bundle, signed_by=public_key(bundle))
    Bundle.open(bundle)


def test_commands(tmp_path: Path) -> None:
    bundle, (private, public) = tiny_bundle(tmp_path / "tiny.fer"), write_pair(tmp_path)
    unsigned = fer_edge("predict", tmp_path, "--bundle", bundle, "--signed-by", public)
    assert unsigned.returncode == 1 and "tiny.fer is not signed" in unsigned.stderr
    assert fer_edge("analyse", tmp_path, "-o", tmp_path / "out", "--bundle", bundle, "--signed-by", public).returncode
    served = fer_edge("serve", "--port", "0", "--bundle", bundle, "--signed-by", public)
    assert (served.returncode, served.stderr) == (1, unsigned.stderr)
    live = fer_edge("live", tmp_path, "--json", "--bundle", bundle, "--signed-by", public)
    assert live.returncode == 1 and "tiny.fer is not signed" in live.stderr
    Image.new("RGB", (48, 48)).save(tmp_path / "face.png")
    scored = fer_edge("score", tmp_path, "-o", tmp_path / "scores", "--bundle", bundle, "--signed-by", public)
    assert scored.returncode == 1 and "tiny.fer is not signed" in scored.stderr and not (tmp_path / "scores").exists()
    result = fer_edge("bundle", "sign", bundle, "--private-key", private)
    assert result.returncode == 0 and "wrote" in result.stdout
    result = fer_edge("bundle", "verify", bundle, "--signed-by", public, "--json")
    assert json.loads(result.stdout)["signature"] == str(bundle) + ".sig"
    result = fer_edge("bundle", "verify", bundle, "--signed-by", private)
    assert result.returncode == 2 and "is a private key" in result.stderr


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def openssl(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False)


@needs_openssl
def test_openssl_verifies_a_signature(bundle: Path, tmp_path: Path) -> None:
    envelope = json.loads(signature_path(bundle).read_bytes())["dsseEnvelope"]
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "bytes").write_bytes(pre_authentication_bytes(payload_of(bundle)))
    command = ["dgst", "-sha256", "-verify", public_key(bundle), "-signature", tmp_path / "sig", tmp_path / "bytes"]
    assert openssl(*command).stdout == b"Verified OK\n"
    (tmp_path / "bytes").write_bytes(pre_authentication_bytes(payload_of(bundle) + b" "))
    assert openssl(*command).returncode == 1


@needs_openssl
def test_keys_of_openssl_sign_and_verify(tmp_path: Path) -> None:
    """The commands in docs/guides/signing.md, and an encrypted key."""
    bundle, private, public = tiny_bundle(tmp_path / "tiny.fer"), tmp_path / "key.pem", tmp_path / "key.pub"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    sign_bundle(bundle, private)
    verify_bundle(bundle, public)
    openssl("ec", "-aes128", "-passout", "pass:secret", "-in", private, "-out", tmp_path / "encrypted.pem")
    with pytest.raises(ConfigError, match=r"encrypted\.pem is encrypted; pass the key by a pipe"):
        sign_bundle(bundle, tmp_path / "encrypted.pem")


def model_signing(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(MODEL_SIGNING), "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


needs_model_signing = pytest.mark.skipif(
    not MODEL_SIGNING.is_file(), reason="needs build/model-signing; make it with: scripts/test-model-signing"
)


@pytest.mark.slow
@needs_model_signing
def test_model_signing_verifies_our_signature(bundle: Path, tmp_path: Path) -> None:
    _, other = write_pair(tmp_path, "other")
    signature = ["--signature", signature_path(bundle), "--public_key"]
    result = model_signing("verify", "key", *signature, public_key(bundle), bundle)
    assert result.returncode == 0, result.stderr
    assert model_signing("verify", "key", *signature, other, bundle).returncode == 1
    bundle.write_bytes(bundle.read_bytes()[:-1])
    assert model_signing("verify", "key", *signature, public_key(bundle), bundle).returncode == 1


@pytest.mark.slow
@needs_model_signing
def test_signature_of_model_signing_is_verified(bundle: Path, tmp_path: Path) -> None:
    signature = signature_path(bundle)
    signature.unlink()
    key = bundle.with_name("key.pem")
    result = model_signing("sign", "key", "--private_key", key, "--signature", signature, bundle)
    assert result.returncode == 0, result.stderr
    verify_bundle(bundle, public_key(bundle))
    tiny_bundle(bundle, labels=("neutral", "surprise", "happiness"))
    with pytest.raises(SignatureError, match="differs from the file that was signed"):
        verify_bundle(bundle, public_key(bundle))


# What model_signing 1.1.1 wrote for the bytes b"fer-edge\n" in the file model.fer, with the key below.
def test_recorded_signature_of_model_signing_is_verified(tmp_path: Path) -> None:
    folder = Path(__file__).parent / "recorded_signature"
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    with pytest.raises(BundleError, match="is a text file"):  # the signature is valid
        verify_bundle(tmp_path / "model.fer", tmp_path / "key.pub")
    (tmp_path / "model.fer").write_bytes(b"fer-edgf\n")
    with pytest.raises(SignatureError, match="differs from the file that was signed"):
        verify_bundle(tmp_path / "model.fer", tmp_path / "key.pub")
