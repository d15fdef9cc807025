"""HTML page of a benchmark, in a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fer_edge.benchmark.noise import Noise
from fer_edge.benchmark.page import page_from_report, write_report
from fer_edge.benchmark.report import BenchReport
from fer_edge.benchmark.rows import rows_from_report
from fer_edge.benchmark.scenario import Stamps
from fer_edge.benchmark.scenarios.on_device import DeviceBatch, OnDevice
from fer_edge.benchmark.scenarios.single_stream import summarise_single_stream
from fer_edge.benchmark.statistics import Estimate
from fer_edge.evaluation.parity import GATES, ParityReport, Stage
from fer_edge.hardware.gpu_state import GpuState, Spread
from tests.browser import COLOR_SCHEMES, show

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ATTACK = "<script>alert(1)</script>\"'&$x_"
PICTURES = 10

pytestmark = pytest.mark.xdist_group("benchmark report")


@pytest.mark.slow
def test_page_of_all_scenarios(
    measured: tuple[BenchReport, dict[str, Stamps]], tmp_path: Path, browser: Browser
) -> None:
    page = write_report(tmp_path / "out", *measured)
    assert {file.name for file in page.parent.iterdir()} == {"report.html", "figures.csv"}
    for scheme in COLOR_SCHEMES:
        shown = show(browser, page, 390, scheme)
        assert (shown.broken, shown.complaints, shown.requests) == ([], [], [])
        assert len(shown.images) == PICTURES
        assert shown.scroll_width <= 390, "it fits a phone without horizontal scrolling"
        for heading in ("Single stream", "Open loop", "Batches", "Several recognizers", "Cold start"):
            assert heading in shown.text
        assert "Sustained" in shown.text and "Roofline" in shown.text and "Environment" in shown.text


def test_page_of_one_scenario_has_only_its_section(report: BenchReport, tmp_path: Path, browser: Browser) -> None:
    stamps = np.cumsum(np.full((50, 4), 1_000_000), axis=0) + np.arange(4) * 250_000
    noise = {"single-stream": Noise(0.1, 0.4, 0.0, 2.0, None)}
    alone = BenchReport(
        file="a.fer", bundle=ATTACK, bundle_sha256="c0ffee", engine="openvino", precision="fp32", threads=None,
        load_ms=1.0, memory_mb=None,
        peak_memory_mb=None, noise=noise, left_out={"on-device": ATTACK}, plan=report.plan,
        environment=report.environment, operators={ATTACK: {"float": 2}},
        proven={"int8": 0.9},
        results={"single-stream": summarise_single_stream(stamps)},
    )  # fmt: skip
    file = tmp_path / "page.html"
    file.write_bytes(page_from_report(alone, {"single-stream": stamps}))
    shown = show(browser, file, 390)
    assert (shown.broken, shown.complaints, shown.requests, len(shown.images)) == ([], [], [], 2)
    assert ATTACK in shown.text and "default threads" in shown.text
    assert "Disturbed by other load during single-stream: see the warnings there." in shown.text
    assert "Disturbed by other load: other processes used 40 % of the CPU time. These results" in shown.text
    assert f"Skipped on-device: {ATTACK}." in shown.text and "c0ffee" in shown.text
    assert "Multiply-accumulates of the built engine (openvino) by precision: int8 (90.0 %)" in shown.text
    assert "Batches" not in shown.text and "Roofline" not in shown.text
    assert shown.scroll_width <= 390


def test_warning_is_in_the_section_of_its_scenario(report: BenchReport) -> None:
    loud = Noise(None, 0.31, 0.0, None, None)
    noise = {name: loud if name in ("batches", "roofline") else Noise(*[None] * 5) for name in report.noise}
    results = {name: report.results[name] for name in ("single-stream", "batches", "roofline")}
    page = page_from_report(replace(report, noise=noise, results=results), {}).decode()
    assert "</strong> during batches, roofline: see the warnings there." in page
    sections = {part.split("</h2>")[0]: part for part in page.split("<h2>")[1:]}
    disturbed = [heading for heading, part in sections.items() if "other processes used 31 %" in part]
    assert disturbed == ["Batches", "Roofline"]


@pytest.mark.slow
def test_page_has_gpu_times_and_clocks(report: BenchReport) -> None:
    total, spread = report.batches[0].latency, Spread(1410, 1700, 1980)
    gpu = GpuState("RTX <4070>", "580.65", 3, spread, spread, None, spread, spread, ("SwPowerCap",))
    batches = (DeviceBatch(4, True, total, total, total, total),)
    page = page_with(report, "on-device", OnDevice(batches, gpu, ""))
    assert "RTX &lt;4070&gt;, driver 580.65: SM clock 1410 to 1980 MHz, 1980 degrees, 1980 MB in use; clocks" in page
    page = page_with(report, "on-device", OnDevice(batches, None, "no NVML here"))
    assert "GPU clocks and power are unknown: no NVML here." in page


@pytest.mark.slow
def test_page_has_the_first_start(report: BenchReport) -> None:
    row = "first start with kernel compilation (one run)"
    assert row not in page_with(report, "cold-start", report.cold_start)
    page = page_with(report, "cold-start", replace(report.cold_start, first_start=12_345.0))
    assert f"{row}</th><td>12345</td>" in page


@pytest.mark.slow
def test_page_names_unsteady_streams(report: BenchReport) -> None:
    note = "The speed changed in the middle of the run, so no warm-up was excluded: "
    steady = [replace(run, steady=True) for run in report.multi_stream]
    assert note not in page_with(report, "multi-stream", steady)
    unsteady = [replace(run, steady=run.streams == 1) for run in report.multi_stream]
    page = page_with(report, "multi-stream", unsteady)
    assert f"{note}2 streams." in page.split("Several recognizers")[1].split("<h2>")[0]


def test_page_names_rates_that_do_not_keep_up(report: BenchReport) -> None:
    loops = [replace(report.open_loop[0], rate=500.0, keeps_up=False)]
    assert "`keeps up` is false if frames take longer" in page_with(report, "open-loop", loops)
    fast = [
        replace(share, share_of_peak=2.0, macs_per_byte=1.0, layer=replace(share.layer, macs=10**7))
        for share in report.roofline.layers
    ]
    page = page_with(report, "roofline", replace(report.roofline, layers=fast))
    assert "Layers ran faster than the peaks" in page


def test_page_has_intervals_beside_values(report: BenchReport) -> None:
    latency = replace(report.single_stream.latency, p50=Estimate(1.25, 1.1, 1.5), p90=Estimate(2.5, 2.1, None))
    page = page_with(report, "single-stream", replace(report.single_stream, latency=latency))
    assert '<td>1.250 <small class="faint">1.100 to 1.500</small></td>' in page
    assert '<td>2.500 <small class="faint">from 2.100</small></td>' in page


@pytest.mark.parametrize(("passed", "verdict"), [(True, "passed."), (False, "<strong>FAILED.</strong>")])
def test_page_and_csv_have_every_parity_stage(report: BenchReport, passed: bool, verdict: str) -> None:
    stages = (Stage("names", True, "outputs <a>"), Stage("values", passed, "batch 1: 1.00e-06"))
    with_parity = replace(report, parity=ParityReport(256, GATES["fp32"], stages), results={})
    page = page_from_report(with_parity, {}).decode()
    assert f"Compared with PyTorch on 256 real images: {verdict}" in page
    assert "outputs &lt;a&gt;" in page and ("FAIL" in page) is not passed
    rows = [(row.setting, row.figure, row.value) for row in rows_from_report(with_parity) if row.scenario == "parity"]
    assert rows == [
        ("", "images", 256),
        *(("gate", name, value) for name, value in vars(GATES["fp32"]).items()),
        ("names", "passed", 1),
        ("values", "passed", passed),
    ]


def test_graph_without_multiply_accumulates_has_no_plot(report: BenchReport) -> None:
    without = [share for share in report.roofline.layers if not share.layer.macs]
    page = page_with(report, "roofline", replace(report.roofline, layers=without))
    assert "Rates of layers" not in page and "Roofline" in page


def page_with(report: BenchReport, scenario: str, result: object) -> str:
    """Return the page of a report with a result of one scenario alone."""
    return page_from_report(replace(report, results={scenario: result}), {}).decode()
