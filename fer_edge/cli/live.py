"""`fer-edge live`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.option_checks import parse_size, refuse_given
from fer_edge.cli.options import Engine, FrameRate, Json, NoBrowser, OneThread, Port, Reload, ShippedBundle, SignedBy

if TYPE_CHECKING:
    from fer_edge.bundle import Bundle
    from fer_edge.live.output import Output
    from fer_edge.live.outputs import Note
    from fer_edge.live.server import PageServer
    from fer_edge.live.session import LiveSession


def live(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Camera (0, /dev/video0 or a part of its name), video file, folder of images, RTSP or HTTP URL; `-` "
            "is standard input.",
        ),
    ] = "0",
    bundle: ShippedBundle = None,
    signed_by: SignedBy = None,
    reload: Reload = False,
    faces: Annotated[int, typer.Option("--faces", min=1, help="Largest number of faces recognised in one frame.")] = 4,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="Another output: a URL, or a file to write; repeat for several. `--list-outputs` lists them.",
        ),
    ] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Serve no page; only for use with --to.")] = False,
    port: Port = None,
    no_browser: NoBrowser = False,
    show: Annotated[bool, typer.Option("--show", help="Draw the results in the terminal instead of a page.")] = False,
    json: Json = False,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.1, help="Length in seconds; default: until the source ends or Ctrl-C."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="W,H", help="Width and height of a camera's frames; default: its own."),
    ] = None,
    fps: FrameRate = None,
    loop: Annotated[bool, typer.Option("--loop", help="Repeat a file or folder without end.")] = False,
    engine: Engine = None,
    threads: OneThread = 1,
    list_outputs: Annotated[
        bool, typer.Option("--list-outputs", help="List the outputs of --to and the shipped mappings, and end.")
    ] = False,
    copy_mapping: Annotated[
        str | None,
        typer.Option(
            "--copy-mapping",
            metavar="NAME",
            help="Shipped mapping to write to NAME.toml for changes; no source is opened.",
        ),
    ] = None,
) -> None:
    """Recognise expressions in a camera, file or stream, and show them on a page.

    The page is served to this machine only. A file starts when the page is open. With --show, the terminal shows the
    same as text; with --json, each frame is one line. With --to, avatars, programs or files receive the results too. A
    camera or stream that breaks off is opened again.

    Example: fer-edge live 0

    Example: fer-edge live 0 --to "osc://127.0.0.1:9000?app=vrchat"
    """
    from fer_edge._reloads import Reloads
    from fer_edge._stop_signals import StopSignals
    from fer_edge.cli.output import print_note
    from fer_edge.live.outputs import output_kind
    from fer_edge.live.session import LiveSession
    from fer_edge.shipped import shipped_bundle

    if list_outputs:
        _list_outputs()
        return
    if copy_mapping is not None:
        _copy_mapping(copy_mapping)
        return
    _check_page_options(show, json, no_page, bool(to), port=port, no_browser=no_browser or None)
    is_live = any([output_kind(target).live for target in to or ()])  # a list: all are checked
    _check_files(to or ())
    options = {"size": parse_size(size), "fps": fps, "loop": loop, "pace": is_live or not (json or no_page)}
    outputs, page, note = _make_outputs(show, json, no_page, port or 0)
    path = bundle or shipped_bundle()
    reloads = Reloads(path, lambda: session.reload(), note)
    model, targets = _make_target_outputs(to or (), path, signed_by, note)
    with LiveSession.open(
        source, model, outputs=[*outputs, *targets], engine=engine, threads=threads, faces=faces, **options
    ) as session:
        try:
            if page is not None:
                _open_page(page, session, browser=not no_browser)
            # A signal ends the loop between frames, so that all outputs have the same ones.
            with StopSignals() as stop_signal, reloads if reload else nullcontext():
                summary = session.run(seconds, stop_signal)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped after {session.summary()}") from None
    if stop_signal():
        print_note(f"stopped after {summary}")
        raise typer.Exit(128 + stop_signal())
    print_note(summary)


def _list_outputs() -> None:
    """Print the kinds of outputs and the names of the mappings."""
    from fer_edge.cli.output import print_line, print_table
    from fer_edge.live.outputs import OUTPUTS
    from fer_edge.results import Table
    from fer_edge.shipped import shipped_names

    print_table(Table("", ("target of --to", "output"), tuple((kind.form, kind.title) for kind in OUTPUTS.values())))
    print_line(f"mappings, for --copy-mapping and in a target as mapping=NAME: {', '.join(shipped_names('mapping'))}")


def _copy_mapping(name: str) -> None:
    """Write a shipped mapping to the working folder, where no file is replaced."""
    from fer_edge._files import write_atomically
    from fer_edge.cli.output import print_line
    from fer_edge.errors import FerEdgeError
    from fer_edge.shipped import shipped_file

    mapping = shipped_file("mapping", name).read_bytes()
    path = Path(f"{name}.toml")
    if path.exists():
        raise FerEdgeError(f"{path} exists; rename it, or use another folder")
    write_atomically(path, mapping)
    print_line(f"{path} is yours to change; add mapping={path} to the target of --to")


def _check_page_options(
    show: bool, json: bool, no_page: bool, has_targets: bool, port: int | None, no_browser: bool | None
) -> None:
    """Refuse options that contradict each other, or have no effect."""
    if show and json:
        raise typer.BadParameter("--show and --json both print on stdout; leave out one of them")
    if show or json:
        remedy = f"leave out {'--show' if show else '--json'}"
        refuse_given("the page", remedy, no_page=no_page or None, port=port, no_browser=no_browser)
    elif no_page:
        refuse_given("the page", "leave out --no-page", port=port, no_browser=no_browser)
        if not has_targets:
            raise typer.BadParameter("--no-page leaves no output; add --to TARGET, --show or --json")


def _check_files(targets: Sequence[str]) -> None:
    """Refuse two targets that are the same file, of which one would be lost."""
    from fer_edge._files import as_path
    from fer_edge.errors import ConfigError

    places = set()
    for path in (as_path(target, "the file", ConfigError) for target in targets if "://" not in target):
        if path.resolve() in places:
            raise ConfigError(f"{path} is the file of two targets of --to; expected a file for each: leave out one")
        places.add(path.resolve())


def _make_target_outputs(
    targets: Sequence[str], bundle: Path, signed_by: Path | None, note: Note
) -> tuple[Path | Bundle, list[Output]]:
    """Return the bundle, open if its labels or its signature are needed, and the outputs of --to."""
    if not targets and signed_by is None:
        return bundle, []
    from fer_edge.bundle import Bundle
    from fer_edge.live.outputs import make_output

    model = Bundle.open(bundle, signed_by=signed_by)
    return model, [make_output(target, model.manifest.labels, note) for target in targets]


def _make_outputs(show: bool, json: bool, no_page: bool, port: int) -> tuple[list[Output], PageServer | None, Note]:
    """Return the outputs for people and stdout, the page among them, and the function that prints notes."""
    from fer_edge.cli.output import print_line, print_note
    from fer_edge.live.lines import JsonLines, SourceNotes

    if json:
        return [JsonLines(lambda line: print_line(line, flush=True)), SourceNotes(print_note)], None, print_note
    if no_page:
        return [SourceNotes(print_note)], None, print_note
    if show:
        from fer_edge.cli.consoles import LineConsole
        from fer_edge.live.terminal import TerminalView

        terminal = LineConsole()
        if not terminal.is_terminal:
            raise typer.BadParameter("--show needs a terminal; use --json in a pipe or file")
        return [TerminalView(terminal)], None, terminal.print  # above the drawing
    from fer_edge.live.server import PageServer

    page = PageServer(port)
    return [page, SourceNotes(print_note)], page, print_note


def _open_page(page: PageServer, session: LiveSession, browser: bool) -> None:
    """Print the address of the page, open it in a browser on a desktop, and wait for it before a recording starts."""
    from fer_edge.cli.desktop import open_in_browser
    from fer_edge.cli.output import print_line, print_note

    print_line(page.url, flush=True)
    if browser:
        open_in_browser(page.url)
    if session.source.is_live:
        print_note("Ctrl-C ends")
    else:
        print_note("the recording starts when the page is open; Ctrl-C ends")
        page.wait_for_viewer()
