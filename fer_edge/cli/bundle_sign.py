"""`fer-edge bundle sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import BundleArgument, Json


def bundle_sign(
    bundle: BundleArgument,
    private_key: Annotated[Path, typer.Option("--private-key", help="Private key (PEM, ECDSA P-256, not encrypted).")],
    json: Json = False,
) -> None:
    """Sign a bundle with a private key, so that its origin can be verified.

    The signature is a file beside the bundle, BUNDLE.sig, in the format of OpenSSF model signing. A pair of keys:

    openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl pkey -in key.pem -pubout -out key.pub

    Example: fer-edge bundle sign edge.fer --private-key key.pem
    """
    from fer_edge.cli.output import print_result
    from fer_edge.signing import sign_bundle

    print_result(sign_bundle(bundle, private_key), as_json=json)
