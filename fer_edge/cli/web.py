"""`fer-edge web`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.option_checks import refuse_given, shipped_path
from fer_edge.cli.options import NoBrowser, Port


def web(
    bundle: Annotated[
        Path, typer.Argument(help="Bundle (.fer), or `edge`, the shipped one.", callback=shipped_path("bundle"))
    ] = Path("edge"),
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder to write into; an earlier page is replaced."),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the page to this machine until Ctrl-C.")] = False,
    port: Port = None,
    no_browser: NoBrowser = False,
) -> None:
    """Write a static page that recognises camera, photos and videos in the browser.

    The page contains everything that it needs, and works on every web server that offers https. Pictures never leave
    it. With --serve and without a folder, nothing is written.

    Example: fer-edge web -o site/
    """
    from fer_edge.cli.output import print_line
    from fer_edge.web import make_site, write_site
    from fer_edge.web.folder import check_folder

    if out is None and not serve:
        raise typer.BadParameter("nothing to do; name a folder with --out, or add --serve")
    if not serve:
        refuse_given("the server", "add --serve", port=port, no_browser=no_browser or None)
    if out is not None:
        check_folder(out)
    files = make_site(bundle)
    if out is not None:
        write_site(files, out)
        print_line(f"wrote {out}: {len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB")
    if serve:
        _serve(files, port or 0, not no_browser)


def _serve(files: dict[str, bytes], port: int, browser: bool) -> None:
    """Serve a page until Ctrl-C."""
    import threading

    from fer_edge.cli.desktop import open_in_browser
    from fer_edge.cli.output import print_line, print_note
    from fer_edge.web.server import SiteServer

    server = SiteServer(files, port)
    url = server.open()
    print_line(url, flush=True)
    if browser:
        open_in_browser(url)
    print_note("Ctrl-C ends")
    try:
        threading.Event().wait()
    finally:
        server.close()
