"""MkDocs hooks: pages and pictures from outside of docs/, the command-line reference, and links between them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from cli_reference import reference
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Page by file of the repository.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "fer_edge/weights/README.md": "model-card.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
PICTURES, SCHEMAS = "benchmarks/results", "fer_edge/schemas"
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures that are not in docs/."""
    for page, source in SOURCES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for picture in sorted((ROOT / PICTURES).glob("*.svg")):
        files.append(File.generated(config, f"{PICTURES}/{picture.name}", abs_src_path=str(picture)))
    for schema in sorted((ROOT / SCHEMAS).glob("*.json")):
        files.append(File.generated(config, f"{SCHEMAS}/{schema.name}", abs_src_path=str(schema)))
    files.append(File.generated(config, "reference/cli.md", content=reference()))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Convert links between files of the repository, which hold there too, to links between pages."""
    uri = page.file.src_uri
    source = SOURCES.get(uri, f"docs/{uri}")

    def convert(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        target = PAGES.get(target, target.removeprefix("docs/"))
        return match[1] + posixpath.relpath(target, posixpath.dirname(uri) or ".") + match[3]

    return LINK.sub(convert, markdown)
