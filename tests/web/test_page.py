"""The page in a real browser, with the server alone: what a user does without a pipeline."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh

from browser import AXE, ServerProcess, accessibility_faults, chromium, page_of, pixels, require_browser

require_browser()

from playwright.sync_api import expect

from object_pose.io.images import write_image
from object_pose.simulation.generators import inspection, spaceship
from object_pose.simulation.generators.aerial import tile as aerial

ROOT = Path(__file__).resolve().parents[2]
expect.set_options(timeout=30_000)
pytestmark = pytest.mark.timeout(300)
VIEWS = ("live", "try", "parts", "calibration", "models", "jobs")
RESULT = "#view-try .panel:not([hidden])"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("serve")
    started = ServerProcess(["serve"], folder / "log")
    yield started
    started.stop()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    with page_of(browser) as opened:
        yield opened


def save_sample(task: str, folder: Path) -> Path:
    """Write an image that the task's model knows."""
    if task in ("detect", "pose"):
        return ROOT / "examples" / "parts.jpg"
    target = folder / f"{task}.png"
    if task == "oriented":
        samples = (spaceship.spaceship_sample(seed) for seed in range(7, 99))
        image = next(image for image, label in samples if np.isfinite(label[0]))
        cv2.imwrite(str(target), np.rint(255 * image).astype(np.uint8))
    else:
        write_image(target, inspection.inspection_sample(7)[0] if task == "classify" else aerial.sample(7)[0])
    return target


def checkerboard() -> Any:
    """Draw 7 x 5 squares, a pixel each."""
    return np.uint8(255 * (np.indices((5, 7)).sum(axis=0) % 2))


@pytest.mark.parametrize("task", ["detect", "oriented", "classify", "segment", "pose"])
def test_an_image_of_each_task_gives_its_result(server: ServerProcess, page: Any, task: str, tmp_path: Path) -> None:
    page.goto(f"{server.url}/#try")
    page.locator(f"input[value={task}]").check()
    if task == "pose":
        page.get_by_label("Depth image").set_input_files(ROOT / "examples" / "parts_depth.png")
        page.locator("#view-try input[accept*='.yaml']").set_input_files(
            ROOT / "calibration" / "intrinsics" / "simulated.yaml"
        )
    before = page.locator("#try-stage").screenshot()
    page.get_by_label("Choose, drop or paste an image").set_input_files(save_sample(task, tmp_path))
    expect(page.locator(f"{RESULT} .facts")).to_contain_text("Inference")
    expect(page.locator(f"{RESULT} pre")).to_contain_text('"inference_ms"')
    assert page.locator("#try-stage").screenshot() != before
    if task == "pose":
        rows = page.locator(f"{RESULT} tbody tr")
        expect(rows.filter(has_text="gear")).to_have_count(1)
        expect(rows.first).to_contain_text("100.0 %")


def test_what_the_server_refuses_is_shown_as_it_says_it(server: ServerProcess, page: Any, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("no image")
    page.goto(f"{server.url}/#try")
    page.locator("input[value=detect]").check()
    page.get_by_label("Choose, drop or paste an image").set_input_files(tmp_path / "note.png")
    expect(page.locator("#view-try [role=alert]")).to_contain_text("image")
    expect(page.locator("#view-try .panel")).to_be_hidden()


def test_models_are_listed_and_switched(server: ServerProcess, page: Any) -> None:
    page.goto(f"{server.url}/#models")
    row = page.locator("tr[data-model=lmo]")
    row.get_by_role("button", name="Use lmo").click()
    expect(row).to_contain_text("in use")
    expect(page.locator("tr[data-model=parts]")).not_to_contain_text("in use")
    page.get_by_role("button", name="Use parts").click()
    expect(page.locator("tr[data-model=parts]")).to_contain_text("in use")
    assert {model["name"] for model in server.get("/v1/models") if model["active"]} >= {"parts", "workplace"}


@pytest.mark.timeout(600)
def test_a_cad_file_is_onboarded(server: ServerProcess, page: Any, tmp_path: Path) -> None:
    trimesh.creation.box((10.0, 20.0, 40.0)).export(tmp_path / "block.stl")
    patient = {"timeout": 400_000}
    page.goto(f"{server.url}/#parts")
    page.get_by_label("Choose or drop CAD files").set_input_files(tmp_path / "block.stl")
    card = page.locator("article[data-part=block]")
    expect(card).to_contain_text("half turn about x", **patient)
    expect(card.locator("figure")).to_have_attribute("data-loaded", "")
    picture = pixels(card.locator("canvas")).astype(int)
    assert (np.abs(picture - picture[2, 2]).max(axis=2) > 40).mean() > 0.02
    card.get_by_label("None", exact=True).check()
    page.locator("#view-parts summary").click()
    page.locator("#view-parts input[name=roi_head]").uncheck()
    tiny = {"steps": 1, "test_frames": 1, "batch_size": 1, "workers": 0, "validation_frames": 1}
    for name, value in tiny.items():
        page.locator(f"#view-parts input[name={name}]").fill(str(value))
    page.locator("#view-parts input[name=name]").fill("block")
    page.get_by_role("button", name="Start onboarding").click()
    report = page.locator("#view-parts a", has_text="report.html")
    expect(report).to_be_visible(**patient)
    page.get_by_role("button", name="Add block.onnx to the models").click()
    expect(page.locator("#toasts")).to_contain_text("among the models")
    (job,) = (job for job in server.get("/v1/jobs") if job["kind"] == "onboard")
    assert job["options"]["symmetries"] == {"block": "none"}
    with urllib.request.urlopen(server.url + report.get_attribute("href"), timeout=60) as answer:
        assert b"block" in answer.read()


def test_images_of_a_board_are_collected_for_a_calibration(server: ServerProcess, page: Any, tmp_path: Path) -> None:
    (tmp_path / "blank.png").write_bytes(cv2.imencode(".png", np.full((480, 640, 3), 200, np.uint8))[1].tobytes())
    board = cv2.resize(checkerboard(), (560, 400), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(tmp_path / "board.png"), cv2.copyMakeBorder(board, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=255))
    page.goto(f"{server.url}/#calibration")
    page.locator("#view-calibration input[name=board]").fill("chessboard:6x4:0.03")
    page.get_by_role("button", name="Start a session").click()
    expect(page.get_by_role("button", name="End session")).to_be_visible()  # files before it has begun go nowhere
    chooser = page.get_by_label("Or add images")
    chooser.set_input_files(tmp_path / "blank.png")
    expect(page.locator("#view-calibration [role=status]").first).to_contain_text("not visible")
    chooser.set_input_files(tmp_path / "board.png")
    expect(page.locator("#view-calibration .facts")).to_contain_text("seen")
    expect(page.locator("#view-calibration .facts div", has_text="Images")).to_contain_text("1")
    expect(page.get_by_role("button", name="Calibrate")).to_be_enabled()


def test_the_keyboard_reaches_everything(server: ServerProcess, page: Any) -> None:
    page.goto(server.url)
    expect(page.get_by_text("No pipeline").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("5")
    expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Models")).to_have_attribute("aria-current", "page")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")


def test_a_wrong_token_is_refused_and_a_right_one_gives_its_scope(browser: Any, page: Any, tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "object_pose.cli.main",
        "tokens",
        "create",
        "--name",
        "test",
        "--scope",
        "read",
        "--state-folder",
    ]
    made = subprocess.run([*words, str(tmp_path / "state")], capture_output=True, text=True, check=True)
    token = next(word for word in made.stdout.split() if word.startswith("op_"))
    server = ServerProcess(["serve", "--no-shipped-models"], tmp_path / "log")
    try:
        answers: list[int] = []
        page.on("response", lambda answer: answers.append(answer.status) if "session" in answer.url else None)
        page.goto(server.url)
        dialog = page.get_by_role("dialog", name="Log in")
        dialog.get_by_label("Token").fill("op_wrong")
        dialog.get_by_role("button", name="Log in").click()
        expect(dialog.get_by_role("alert")).to_contain_text("unknown")
        assert 401 in answers
        dialog.get_by_label("Token").fill(token)
        dialog.get_by_role("button", name="Log in").click()
        expect(dialog).to_be_hidden()
        page.keyboard.press("5")
        expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
        expect(page.get_by_label("Upload a model")).to_be_hidden()
        page.get_by_role("button", name="Log out").click()
        expect(dialog).to_be_visible()
    finally:
        server.stop()


def test_the_page_recovers_when_the_server_restarts(page: Any, tmp_path: Path) -> None:
    server = ServerProcess(["serve", "--no-shipped-models"], tmp_path / "log")
    try:
        page.goto(f"{server.url}/#models")
        expect(page.locator("#status")).to_have_attribute("data-state", "alone")
        server.stop()
        page.keyboard.press("1")
        expect(page.locator("#banner")).to_contain_text("does not answer")
        expect(page.locator("#status")).to_have_attribute("data-state", "gone")
        server.start()
        expect(page.locator("#banner")).to_be_hidden()
        expect(page.locator("#status")).to_have_attribute("data-state", "alone")
    finally:
        server.stop()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not there: scripts/setup dev fetches it")
@pytest.mark.parametrize("look", ["dark", "light", "phone"])
def test_axe_finds_no_serious_fault(server: ServerProcess, browser: Any, look: str) -> None:
    size = {"width": 390, "height": 844} if look == "phone" else {"width": 1280, "height": 900}
    with page_of(browser, color_scheme="dark" if look == "dark" else "light", viewport=size) as page:
        page.add_init_script(path=AXE)
        for view in VIEWS:
            page.goto(f"{server.url}/#{view}")
            page.reload()
            expect(page.locator("#status")).to_have_attribute("data-state", "alone")
            expect(page.locator(f"#view-{view}")).to_be_visible()
            assert accessibility_faults(page) == [], view
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{view} is wider than the window"
