"""Benchmark of the page for browsers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import web_page
from tests.browser import require_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Playwright


def test_sizes_are_those_of_all_files(site_files: dict[str, bytes]) -> None:
    table = web_page.sizes({name: data[:1000] for name, data in site_files.items()})
    *parts, total = [int(str(count)) for _, count, *_ in table.rows]
    assert total == sum(parts) == len(site_files) and all(parts)


@pytest.mark.slow
def test_times_are_measured(playwright: Playwright, site_files: dict[str, bytes]) -> None:
    require_chromium()
    (run,) = web_page.measure(playwright, site_files, repeats=1, seconds=1)
    assert run["ready"] > 0 and run["first"] > 0 and run["samples"]
    assert [row[0] for row in web_page.times([run]).rows][:2] == ["ready, ms", "first result, ms"]
