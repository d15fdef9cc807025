"""MkDocs hooks: pages that are made from files outside of docs/, and the command-line reference."""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Page -> file of the repository. Links in it are rewritten to the page's place.
PAGES = {
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "model-card.md": "fer_edge/weights/README.md",
    "security.md": "SECURITY.md",
}
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from other files."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=_page_from(source)))
    from fer_edge.cli.reference import reference

    files.append(File.generated(config, "reference/cli.md", content=reference()))
    return files


def on_post_build(config: Any) -> None:
    """Copy the pictures of the benchmark page."""
    target = Path(config["site_dir"], "benchmarks", "results")
    target.mkdir(parents=True, exist_ok=True)
    for picture in (ROOT / "benchmarks" / "results").glob("*.svg"):
        shutil.copy(picture, target)


def _page_from(source: str) -> str:
    """Read a file of the repository, with links that hold from the top of docs/."""

    def rewrite(match: re.Match[str]) -> str:
        return match[1] + _target(posixpath.dirname(source), match[2]) + match[3]

    return LINK.sub(rewrite, (ROOT / source).read_text(encoding="utf-8"))


def _target(folder: str, link: str) -> str:
    path = posixpath.normpath(posixpath.join(folder, link))
    for page, source in PAGES.items():
        if path == source:
            return page
    return path.removeprefix("docs/")
