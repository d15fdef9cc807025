"""`fer-edge analyse`."""

from __future__ import annotations

from typing import Annotated

import typer

from fer_edge.cli.options import Engine, FolderOut, FrameRate, Json, OneThread, ShippedBundle, SignedBy


def analyse(
    source: Annotated[
        str, typer.Argument(metavar="VIDEO", help="Video file, folder of images, or another source that ends.")
    ],
    out: FolderOut,
    bundle: ShippedBundle = None,
    signed_by: SignedBy = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write the rows as Parquet too.")] = False,
    no_video: Annotated[bool, typer.Option("--no-video", help="Leave out the annotated copy.")] = False,
    fps: FrameRate = None,
    engine: Engine = None,
    threads: OneThread = 1,
    json: Json = False,
) -> None:
    """Follow the faces of a video; write a table, an annotated copy and a page.

    DIR gets faces.csv with a row per person and frame, report.html with timelines, and annotated.mp4 without sound.
    After Ctrl-C, they describe the part that was analysed.

    Example: fer-edge analyse clip.mp4 -o out/
    """
    from fer_edge.analysis.analyse import STOPPED, clock
    from fer_edge.analysis.analyse import analyse as run_analysis
    from fer_edge.cli.output import print_error, print_result, progress

    result = run_analysis(
        source,
        out,
        bundle=bundle,
        signed_by=signed_by,
        video=not no_video,
        parquet=parquet,
        fps=fps,
        engine=engine,
        threads=threads,
        progress=progress,
    )
    print_result(result, as_json=json)
    if result.stopped == STOPPED:
        raise KeyboardInterrupt(f"stopped at {clock(result.seconds)}")
    if result.stopped:
        print_error(result.stopped)
        raise typer.Exit(1)
