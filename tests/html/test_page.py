"""The shared page frame, in a real browser."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fer_edge.html import page as pages
from fer_edge.html.page import data_uri, number, page_from_template
from fer_edge.html.picture import DPI, draw
from fer_edge.html.theme import ACCENT, PAPER
from tests.browser import COLOR_SCHEMES, show

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TEMPLATE = """{% extends "html/frame.html.jinja" %}
{% from "html/parts.html.jinja" import figure, tiles %}
{% block title %}{{ title }}{% endblock %}
{% block lead %}{{ tiles([("a", "1"), ("b", title)]) }}{% endblock %}
{% block main %}{{ figure(picture) }}{% endblock %}
"""
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def plot() -> Figure:
    figure = Figure(figsize=(4, 3))
    figure.text(0.5, 0.5, "$a_b \\frac{", color=ACCENT)  # invalid as mathematical text
    return figure


@pytest.fixture
def templates(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Add templates to the shipped ones."""
    added: dict[str, str] = {"page": TEMPLATE}
    environment = pages._environment()
    loader = jinja2.ChoiceLoader([jinja2.DictLoader(added), environment.loader or jinja2.DictLoader({})])
    monkeypatch.setattr(pages, "_environment", lambda: environment.overlay(loader=loader))
    return added


def test_picture_is_on_white_paper_and_has_equal_bytes_each_time() -> None:
    picture = draw("a plot", plot)
    assert (picture.width, picture.height) == (384, 288)
    with Image.open(io.BytesIO(picture.data)) as image:
        assert image.size == (4 * DPI, 3 * DPI)
        assert image.convert("RGB").tobytes()[:3] == bytes.fromhex(PAPER[1:]) == b"\xff\xff\xff"
    assert draw("a plot", plot) == picture


def test_numbers_are_formatted() -> None:
    assert number(None, 2, " %") == "-"
    assert number(1234.567, 1) == "1,234.6"
    assert number(88.2, 2, " %") == "88.20 %"


def test_missing_template_value_is_an_error(templates: dict[str, str]) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'picture' is undefined"):
        page_from_template("page", title="x")


def test_page_shows_its_picture_and_escapes_values(templates: dict[str, str], tmp_path: Path, browser: Browser) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(page_from_template("page", title=ATTACK, picture=draw(ATTACK, plot)))
    for scheme in COLOR_SCHEMES:
        shown = show(browser, file, 390, scheme)
        assert (shown.images, shown.broken, shown.complaints, shown.requests) == ([ATTACK], [], [], [])
        assert shown.text.count(ATTACK) == 2
        assert shown.scroll_width <= 390


def test_content_policy_blocks_unescaped_scripts_and_images(
    templates: dict[str, str], tmp_path: Path, browser: Browser
) -> None:
    templates["bad"] = TEMPLATE.replace("{{ figure(picture) }}", "{{ bad | safe }}")
    file = tmp_path / "page.html"
    file.write_bytes(page_from_template("bad", title="x", bad="<script>alert(1)</script><img src=x.png alt=away>"))
    shown = show(browser, file)
    assert shown.broken == ["away"]
    assert any("Content Security Policy" in complaint for complaint in shown.complaints)
    assert not any(complaint.startswith("dialog") for complaint in shown.complaints)


def test_browser_detects_a_damaged_picture(templates: dict[str, str], tmp_path: Path, browser: Browser) -> None:
    templates["bad"] = TEMPLATE.replace("{{ figure(picture) }}", '<img alt="bad" src="{{ bad }}">')
    file = tmp_path / "page.html"
    file.write_bytes(page_from_template("bad", title="x" * 500, bad=data_uri(b"no picture")))
    shown = show(browser, file, 390)
    assert shown.broken == ["bad"]
    assert shown.scroll_width <= 390
