"""`fer-edge score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.option_checks import refuse_given
from fer_edge.cli.options import (
    AllowHostCode,
    Crop,
    Detail,
    Engine,
    FolderOut,
    Json,
    MaxPixels,
    OneThread,
    ShippedBundle,
    SignedBy,
    Workers,
)


def score(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCES", help="Folders, images, videos, .tar and .parquet files, and lists (.txt) of files."
        ),
    ],
    out: FolderOut,
    bundle: ShippedBundle = None,
    signed_by: SignedBy = None,
    workers: Workers = None,
    shard: Annotated[
        int, typer.Option("--shard", min=1, max=1_000_000, help="Number of images of a Parquet file.")
    ] = 4096,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Address of a Ray cluster; default: processes on this machine."),
    ] = None,
    crop: Crop = False,
    detail: Detail = None,
    column: Annotated[
        str | None,
        typer.Option(
            "--column", metavar="NAME", help="Column of images in Parquet files; default: the only one that fits."
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", metavar="DIR", help="Folder of the paths in Parquet files; default: the folder of each file."
        ),
    ] = None,
    max_pixels: MaxPixels = None,
    engine: Engine = None,
    threads: OneThread = 1,
    allow_host_code: AllowHostCode = False,
    json: Json = False,
) -> None:
    """Score many images and videos into Parquet files; interrupted runs resume.

    DIR gets part-000000.parquet and so on, with a row for each face, and _damaged.csv with the inputs that cannot be
    read. After any interruption, the same command scores only what is missing. Exits with 1 if a part is left out.

    Example: fer-edge score photos/ clip.mp4 -o scores/ --workers 2
    """
    from functools import partial

    from fer_edge.cli.output import print_result, progress
    from fer_edge.score.run import score as run_score

    if crop:
        refuse_given("the search for faces", "leave out --crop", detail=detail)
    limits = {} if max_pixels is None else {"max_pixels": max_pixels}
    result = run_score(
        sources,
        out,
        bundle=bundle,
        signed_by=signed_by,
        workers=workers,
        shard=shard,
        ray=ray,
        crop=crop,
        detail=detail or "normal",
        column=column,
        root=root,
        engine=engine,
        threads=threads,
        allow_host_code=allow_host_code,
        progress=partial(progress, unit="images"),
        **limits,
    )
    print_result(result, as_json=json)
    if not result.passed:
        raise typer.Exit(1)
