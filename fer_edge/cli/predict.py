"""`fer-edge predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import AllowHostCode, EngineName, FaceBox, Json, Threads, parse_box, shipped


def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files or folders.")],
    model: Annotated[
        Path | None,
        typer.Option("--model", help="A bundle; default: edge, the shipped one.", callback=shipped("bundle")),
    ] = None,
    box: FaceBox = None,
    engine: EngineName = None,
    threads: Threads = None,
    allow_host_code: AllowHostCode = False,
    json: Json = False,
) -> None:
    """Recognise expressions in images.

    Each image is taken as a face crop unless --box says where the face is.

    Example: fer-edge predict photo.jpg --box 165,70,120,120
    """
    from fer_edge.cli.output import err_console, print_json, print_table
    from fer_edge.errors import FerEdgeError
    from fer_edge.images import read_image
    from fer_edge.recognizer import Recognizer
    from fer_edge.walk import find_images

    face = parse_box(box)
    rows, failed = [], 0
    with Recognizer.open(model, engine, threads, allow_host_code=allow_host_code) as recognizer:
        for path in [found for given in images for found in find_images(given).paths]:
            try:
                expression = recognizer.recognize(read_image(path), face)
            except FerEdgeError as error:
                err_console().print(f"error: {error}", soft_wrap=True)
                failed += 1
                continue
            if json:
                print_json({"image": path, "label": expression.label, "scores": expression.scores}, indent=None)
            rows.append((path, expression.label, f"{expression.score:.3f}"))
    if rows and not json:
        print_table("", ("image", "expression", "score"), rows)
    if failed:
        raise typer.Exit(1)
