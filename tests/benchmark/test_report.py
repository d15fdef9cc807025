"""The page of a benchmark, looked at in a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fer_edge.benchmark.csv_rows import records_from_report
from fer_edge.benchmark.gpu import GpuState, Spread
from fer_edge.benchmark.noise import Noise
from fer_edge.benchmark.report import page_from_report, write_report
from fer_edge.benchmark.run import BenchReport
from fer_edge.benchmark.scenarios.on_device import DeviceBatch, OnDevice
from fer_edge.benchmark.scenarios.single_stream import Stamps, summarise_single_stream
from fer_edge.evaluation.parity import GATES, ParityReport, Stage
from tests.browser import show

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ATTACK = "<script>alert(1)</script>\"'&$x_"
PICTURES = 10


def test_all_scenarios_on_one_page(
    measured: tuple[BenchReport, dict[str, Stamps]], tmp_path: Path, browser: Browser
) -> None:
    page = write_report(tmp_path / "out", *measured)
    assert {file.name for file in page.parent.iterdir()} == {"report.html", "figures.csv"}
    for scheme in ("light", "dark"):
        shown = show(browser, page, 390, scheme)
        assert (shown.broken, shown.complaints, shown.requests) == ([], [], [])
        assert len(shown.images) == PICTURES
        assert shown.scroll_width <= 390, "a phone shows it without scrolling sideways"
        for heading in ("One stream", "Frames at a rate", "Batches", "CallbackList recognizers", "A fresh process"):
            assert heading in shown.text
        assert "For minutes" in shown.text and "Layers and limits" in shown.text and "Environment" in shown.text


def test_a_page_of_one_scenario_shows_what_there_is(report: BenchReport, tmp_path: Path, browser: Browser) -> None:
    stamps = np.cumsum(np.full((50, 4), 1_000_000), axis=0) + np.arange(4) * 250_000
    noise = {"single-stream": Noise(0.1, 0.4, 0.0, 2.0, None)}
    alone = BenchReport(
        bundle=ATTACK, bundle_sha256="c0ffee", engine="openvino", precision="fp32", threads=None, tuned=False,
        load_ms=1.0, memory_mb=None,
        peak_memory_mb=None, noise=noise, left_out={"on-device": ATTACK}, asked=report.asked,
        environment=report.environment, operators={ATTACK: {"float": 2}},
        proven={"int8": 0.9},
        single_stream=summarise_single_stream(stamps),
    )  # fmt: skip
    file = tmp_path / "page.html"
    file.write_bytes(page_from_report(alone, {"single-stream": stamps}))
    shown = show(browser, file, 390)
    assert (shown.broken, shown.complaints, shown.requests, len(shown.images)) == ([], [], [], 2)
    assert ATTACK in shown.text and "the engine's default threads" in shown.text
    assert "The machine was not quiet during single-stream: what disturbed it is said there." in shown.text
    assert "not quiet meanwhile: other processes took 40 % of the processors' time. Read these" in shown.text
    assert f"on-device was left out: {ATTACK}." in shown.text and "c0ffee" in shown.text
    assert "openvino was found to multiply in int8 (90.0 %)" in shown.text
    assert "Batches" not in shown.text and "Layers and limits" not in shown.text
    assert shown.scroll_width <= 390


def test_what_disturbed_a_scenario_is_said_beside_it(report: BenchReport) -> None:
    loud = Noise(None, 0.31, 0.0, None, None)
    noise = {name: loud if name in ("batches", "roofline") else Noise(*[None] * 5) for name in report.noise}
    page = page_from_report(replace(report, noise=noise), {}).decode()
    assert "</strong> during batches, roofline: what disturbed it is said there." in page
    sections = {part.split("</h2>")[0]: part for part in page.split("<h2>")[1:]}
    told = [heading for heading, part in sections.items() if "other processes took 31 %" in part]
    assert told == ["Batches", "Layers and limits"]


def test_a_gpus_own_times_and_clocks_are_on_the_page(report: BenchReport) -> None:
    total, spread = report.batches[0].latency, Spread(1410, 1700, 1980)
    gpu = GpuState("RTX <4070>", "580.65", 3, spread, spread, None, spread, spread, ("SwPowerCap",))
    batches = (DeviceBatch(4, True, total, total, total, total),)
    page = page_from_report(replace(report, on_device=OnDevice(batches, gpu, "")), {}).decode()
    assert "RTX &lt;4070&gt;, driver 580.65: SM clock 1,410 to 1,980 MHz, 1,980 MB in use, held down by" in page
    page = page_from_report(replace(report, on_device=OnDevice(batches, None, "no NVML here")), {}).decode()
    assert "Its clocks are unknown: no NVML here." in page


def test_a_first_start_is_on_the_page(report: BenchReport) -> None:
    assert report.cold_start is not None and "first start of all" not in page_from_report(report, {}).decode()
    page = page_from_report(replace(report, cold_start=replace(report.cold_start, first_start=12_345.0)), {}).decode()
    assert "The first start of all, when kernels are compiled, takes 12,345 ms until the first result" in page


def test_streams_that_changed_their_speed_are_named(report: BenchReport) -> None:
    told = "Speed changed in the middle of the run, so no warm-up was left out, at streams: "
    steady = [replace(one, steady=True) for one in report.multi_stream]
    assert told not in page_from_report(replace(report, multi_stream=steady), {}).decode()
    unsteady = [replace(one, steady=one.streams == 1) for one in report.multi_stream]
    page = page_from_report(replace(report, multi_stream=unsteady), {}).decode()
    assert f"{told}2." in page.split("CallbackList recognizers")[1].split("<h2>")[0]


def test_what_does_not_keep_up_or_was_disturbed_is_said(report: BenchReport) -> None:
    loop = replace(report.open_loop[0], rate=500.0, keeps_up=False)
    loops = [replace(loop, frames=loop.latency.count), replace(loop, rate=900.0, frames=loop.latency.count + 1)]
    roofline = report.roofline
    assert roofline is not None
    fast = [
        replace(share, share_of_peak=2.0, macs_per_byte=1.0, layer=replace(share.layer, macs=10**7))
        for share in roofline.layers
    ]
    page = page_from_report(replace(report, open_loop=loops, roofline=replace(roofline, layers=fast)), {}).decode()
    assert "At 500 Hz it does not keep up:</strong> its frames took longer than the time in which they came" in page
    assert "At 900 Hz it does not keep up:</strong> it was stopped when it was a second behind." in page
    assert "Layers ran faster than the peaks" in page


@pytest.mark.parametrize(("held", "verdict"), [(True, "parity holds."), (False, "<strong>parity fails.</strong>")])
def test_parity_is_told_stage_by_stage(report: BenchReport, held: bool, verdict: str) -> None:
    stages = (Stage("names", True, "outputs <a>"), Stage("values", held, "batch 1: 1.00e-06"))
    found = replace(report, parity=ParityReport(256, GATES["fp32"], stages))
    page = page_from_report(found, {}).decode()
    assert f"Compared with PyTorch on 256 real images: {verdict}" in page
    assert "outputs &lt;a&gt;" in page and ("FAIL" in page) is not held
    rows = [(row.setting, row.figure, row.value) for row in records_from_report(found) if row.scenario == "parity"]
    assert rows == [
        ("", "images", 256),
        *(("gate", name, value) for name, value in vars(GATES["fp32"]).items()),
        ("names", "passed", 1),
        ("values", "passed", held),
    ]


def test_a_graph_without_products_has_no_roofline_picture(report: BenchReport) -> None:
    roofline = report.roofline
    assert roofline is not None
    without = [share for share in roofline.layers if not share.layer.macs]
    page = page_from_report(replace(report, roofline=replace(roofline, layers=without)), {}).decode()
    assert "Layers below the machine" not in page and "Layers and limits" in page
