"""Pages opened in the browser of a desktop."""

from __future__ import annotations

from contextlib import suppress


def open_in_browser(url: str) -> None:
    """Open a page if there is a desktop; without one, a text browser would take over the terminal.

    Args:
        url: Address of the page.
    """
    import os
    import sys

    if sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        import webbrowser

        with suppress(webbrowser.Error):
            webbrowser.open(url)
