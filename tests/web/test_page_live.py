"""The page in a real browser, beside the running pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
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

from cube import CAMERA, T_CAMERA_CUBE, make_cube
from live_pipeline import Pipeline, serving
from networks import save_pose_model
from object_pose.core.frame import Frame
from object_pose.web.live.hub import LiveHub
from poses import pose_of

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
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page(browser: Any, pipeline: ServerProcess) -> Iterator[Any]:
    with page_of(browser) as opened:
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


def test_a_part_chosen_in_the_table_is_highlighted_in_both_views(page: Any, pipeline: ServerProcess) -> None:
    expect(page.locator("#frame-text")).to_contain_text("model parts")
    # Paused, only the choice changes what is seen.
    page.get_by_role("button", name="Pause").click()
    try:
        expect(page.locator("#status")).to_have_attribute("data-state", "paused")
        assert eventually(page, lambda: shown_stamp(page) == pipeline.get("/v1/live")["frame"]["stamp_ns"])
        views = (page.locator("#picture"), page.locator("#scene"))
        before = [share_of_selection(pixels(view)) for view in views]
        row = page.locator(f"{ROWS}:not([data-state=lost])").first
        row.get_by_role("button").click()
        expect(row).to_have_attribute("data-selected", "")
        for view, old in zip(views, before):
            assert eventually(page, lambda: share_of_selection(pixels(view)) > old + 5e-4)  # noqa: B023
        chosen = [share_of_selection(pixels(view)) for view in views]
        page.keyboard.press("Escape")
        expect(row).not_to_have_attribute("data-selected", "")
        for view, old, new in zip(views, before, chosen):
            assert eventually(page, lambda: share_of_selection(pixels(view)) < 0.5 * (old + new))  # noqa: B023
    finally:
        page.get_by_role("button", name="Resume").click()
    expect(page.locator("#status")).to_have_attribute("data-state", "live")


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


def test_objects_are_drawn_though_the_pipeline_says_its_model_late_and_switches_it(
    browser: Any, frame: Frame, tmp_path: Path
) -> None:
    models = tmp_path / "state" / "models"
    models.mkdir(parents=True)
    parts = {name: replace(make_cube(), name=f"{name} part") for name in ("first", "second")}
    for name, part in parts.items():
        save_pose_model([part], CAMERA, [(0, T_CAMERA_CUBE)], models / f"{name}.onnx")
    pipeline = Pipeline(LiveHub(), frame)

    def show(part: str, model: str | None) -> None:
        if model is not None:
            pipeline.say_model(model)
        pipeline.publish(pose_of(parts[part], 0, T_CAMERA_CUBE, track_id=4, track_age=9))

    def is_shown(part: str, model: str | None) -> bool:
        show(part, model)
        picture, text = page.locator("#picture canvas").first, page.locator("#frame-text").inner_text()
        return bool(picture.get_attribute("data-stamp")) and (model is None or f"model {model}" in text)

    def is_drawn(part: str, model: str | None) -> bool:
        show(part, model)
        outline = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(v => v)"
        return bool(page.locator("#picture canvas").last.evaluate(outline))

    with serving(tmp_path, pipeline) as client, page_of(browser) as page:
        page.goto(str(client.base_url))
        assert eventually(page, lambda: is_shown("first", None))
        assert not is_drawn("first", None)
        assert eventually(page, lambda: is_shown("first", "first"))
        assert eventually(page, lambda: is_drawn("first", "first"))
        # What the first model does not know is drawn when the second one is there.
        assert eventually(page, lambda: not is_drawn("second", "first"))
        assert eventually(page, lambda: is_drawn("second", "second"))


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not there: scripts/setup dev fetches it")
def test_axe_finds_no_serious_fault_in_the_live_view(page: Any) -> None:
    assert accessibility_faults(page) == []
