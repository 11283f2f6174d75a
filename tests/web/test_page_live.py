"""The page in a real browser, beside the running pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from browser import (
    AXE,
    ServerProcess,
    accessibility_faults,
    chromium,
    eventually,
    page_of,
    pixels,
    require_browser,
    share_of_selection,
)

require_browser()

from playwright.sync_api import expect

expect.set_options(timeout=60_000)
pytestmark = pytest.mark.timeout(300)
ROWS = "#objects tbody tr"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The simulated camera and the nodes, with the page."""
    folder = tmp_path_factory.mktemp("run")
    # Slow enough for a busy machine.
    calm = ("motion:=0.2", "prerendered_s:=1.0", "occlusion:=false")
    parameters = [word for item in calm for word in ("-p", f"camera_node:{item}")]
    command = ["run", "--web", "--rate", "4", "--fixed-frame", "world", "--ros-args", *parameters]
    started = ServerProcess(command, folder / "log", "--web-port")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def page(pipeline: ServerProcess) -> Iterator[Any]:
    with chromium() as browser, page_of(browser) as opened:
        if AXE.exists():
            opened.add_init_script(path=AXE)
        opened.goto(pipeline.url)
        expect(opened.locator(ROWS).first).to_be_visible()
        yield opened


def shown_stamp(page: Any) -> str:
    return str(page.locator("#picture canvas[data-layer=image]").get_attribute("data-stamp"))


def test_detections_move(page: Any) -> None:
    expect(page.locator("#status")).to_have_text(re.compile(r"Live \d+ Hz"))
    row = page.locator(ROWS).first
    before, stamp = row.inner_text(), shown_stamp(page)
    expect(row).not_to_have_text(before)
    expect(page.locator("#picture canvas[data-layer=image]")).not_to_have_attribute("data-stamp", stamp)
    expect(page.locator("#plot-rate-now")).to_have_text(re.compile(r"[\d.]+ Hz"))


def test_the_3d_view_is_not_blank(page: Any) -> None:
    scene = page.locator("#scene canvas")

    def drawn() -> float:
        picture = pixels(scene).astype(int)
        return float((np.abs(picture - picture[-3, -3]).max(axis=2) > 40).mean())

    page.get_by_label("Points", exact=True).uncheck()
    assert eventually(page, lambda: drawn() > 0.002)
    parts_alone = drawn()
    page.get_by_label("Points", exact=True).check()
    assert eventually(page, lambda: drawn() > parts_alone + 0.05)
    before = pixels(scene)
    scene.focus()
    page.keyboard.press("ArrowLeft")
    assert eventually(page, lambda: bool((pixels(scene) != before).any(axis=2).mean() > 0.05))


def test_a_part_chosen_in_the_table_is_highlighted_in_both_views(page: Any) -> None:
    views = (page.locator("#picture"), page.locator("#scene"))
    before = [share_of_selection(pixels(view)) for view in views]
    row = page.locator(ROWS).first
    row.get_by_role("button").click()
    expect(row).to_have_attribute("data-selected", "")
    for view, old in zip(views, before):
        assert eventually(page, lambda: share_of_selection(pixels(view)) > old + 5e-4)  # noqa: B023
    page.keyboard.press("Escape")
    expect(row).not_to_have_attribute("data-selected", "")


def test_pause_step_and_resume(page: Any, pipeline: ServerProcess) -> None:
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status")).to_have_attribute("data-state", "paused")
    stamp = pipeline.get("/v1/live")["frame"]["stamp_ns"]

    def steps_on() -> bool:
        # A frame may be lost on its way through a busy machine.
        page.get_by_role("button", name="Step").click()
        return eventually(page, lambda: shown_stamp(page) > stamp, 5.0)

    assert eventually(page, steps_on)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#status")).to_have_attribute("data-state", "live")


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not there: scripts/setup dev fetches it")
def test_axe_finds_no_serious_fault_in_the_live_view(page: Any) -> None:
    assert accessibility_faults(page) == []
