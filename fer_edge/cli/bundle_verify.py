"""`fer-edge bundle verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import BundleArgument, Json


def bundle_verify(
    bundle: BundleArgument,
    signed_by: Annotated[Path, typer.Option("--signed-by", help="Public key (PEM) that must have signed the bundle.")],
    json: Json = False,
) -> None:
    """Verify the signature of a bundle, and check its content.

    The signature is BUNDLE.sig beside the bundle, made by `fer-edge bundle sign` or by model_signing. Exits with 1 if
    it is missing, invalid, by another key, or of another file.

    Example: fer-edge bundle verify edge.fer --signed-by key.pub
    """
    from fer_edge.cli.output import print_result
    from fer_edge.signing import verify_bundle

    print_result(verify_bundle(bundle, signed_by), as_json=json)
