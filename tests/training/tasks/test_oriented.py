"""The oriented network: its maps decode to boxes, its refiner sees boxes upright, and contours are fitted."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from object_pose.core.results.oriented import OrientedBox
from object_pose.runtime.card import ModelCard
from object_pose.simulation.generators.spaceship import draw_line, spaceship_sample
from object_pose.tasks.oriented import LAYOUT

torch = pytest.importorskip("torch")

from object_pose.training.networks.contour_fit import (
    ContourFit,
    contour_pixels,
    corners,
    log_ratios,
    lone_support,
    support,
)
from object_pose.training.networks.contour_search import ContourSearch
from object_pose.training.networks.oriented import (
    STRIDE,
    BoxRefiner,
    ExportedOriented,
    OrientedNetwork,
    changed,
    changes_between,
    likeliest_boxes,
    windows,
)
from object_pose.training.onnx.export import Exportable, export_onnx

boxes = st.tuples(st.floats(60, 140), st.floats(60, 140), st.floats(-3.1, 3.1), st.floats(18, 36), st.floats(20, 60))


@settings(max_examples=50)
@given(boxes, boxes)
def test_changes_lead_from_one_box_to_the_other(first, second) -> None:
    start, wanted = (torch.tensor([box], dtype=torch.float64) for box in (first, second))
    reached = changed(start, changes_between(start, wanted))
    turn = (reached[0, 2] - wanted[0, 2]).item()
    assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < 1e-9
    torch.testing.assert_close(reached[:, [0, 1, 3, 4]], wanted[:, [0, 1, 3, 4]])


@settings(max_examples=20, deadline=None)
@given(boxes)
def test_a_window_shows_the_nose_of_every_box_at_the_same_place(box) -> None:
    x, y, yaw, _, height = box
    rows, columns = np.mgrid[:200, :200]
    nose_x, nose_y = x - np.sin(yaw) * height / 2, y + np.cos(yaw) * height / 2
    spot = np.exp(-((columns - nose_x) ** 2 + (rows - nose_y) ** 2) / (2 * 3.0**2)).astype(np.float32)
    window = windows(torch.from_numpy(spot)[None, None], torch.tensor([box], dtype=torch.float32))[0]
    row, column = np.unravel_index(int(window[0].argmax()), window[0].shape)
    assert abs(row - (0.5 / 1.7 + 0.5) * 95) < 2.5
    assert abs(column - 31.5) < 2.5
    assert float(window[1].max()) > 0.5


@settings(max_examples=20, deadline=None)
@given(boxes)
def test_maps_that_agree_on_a_box_decode_to_it(box) -> None:
    x, y, yaw, width, height = box
    place = (np.array([x, y]) - (STRIDE - 1) / 2) / STRIDE
    column, row = np.rint(place).astype(int)
    logits = torch.full((1, 626), -9.0)
    logits[0, row * 25 + column] = 9.0
    grid_y, grid_x = np.mgrid[:25, :25]
    constants = [np.full((25, 25), v) for v in (np.log(width), np.log(height), np.sin(yaw), np.cos(yaw))]
    geometry = torch.tensor(np.stack([place[0] - grid_x, place[1] - grid_y, *constants]), dtype=torch.float32)[None]
    score, decoded = likeliest_boxes(logits, geometry)
    assert float(score) > 0.99
    np.testing.assert_allclose(decoded[0].numpy(), [x, y, yaw, width, height], rtol=1e-3, atol=1e-2)


def test_an_untrained_refiner_changes_nothing_and_all_is_within_the_published_limit() -> None:
    start = torch.tensor([[100.0, 100.0, 1.0, 30.0, 45.0]])
    changes = BoxRefiner().eval()(torch.rand(1, 1, 200, 200), start)
    torch.testing.assert_close(changed(start, changes), start)
    assert sum(p.numel() for p in OrientedNetwork().parameters() if p.requires_grad) < 2_000_000


def test_where_to_look_turns_with_the_image() -> None:
    torch.manual_seed(3)
    network = OrientedNetwork().eval()
    torch.nn.init.constant_(network.cells[-1].bias, -4.0)  # so that no view is sure, and one is the surest
    exported = ExportedOriented(network)
    image = torch.rand(1, 1, 200, 200)
    with torch.no_grad():
        (score,), candidates = exported.candidates(image)
        (turned_score,), turned_candidates = exported.candidates(image.rot90(1, (2, 3)))
    assert float(turned_score) == pytest.approx(float(score), abs=1e-2)
    x, y, yaw, width, height = candidates[0, 0].tolist()
    turned = turned_candidates[0, 0].tolist()
    # A point (x, y) lies at (y, 199 - x) of the image turned counterclockwise.
    np.testing.assert_allclose(turned[:2], [y, 199.0 - x], atol=1e-2)
    np.testing.assert_allclose(turned[3:], [width, height], rtol=1e-3)
    assert abs((turned[2] - yaw + np.pi / 2 + np.pi) % (2 * np.pi) - np.pi) < 1e-3


def test_a_mirrored_window_asks_for_the_mirrored_change() -> None:
    torch.manual_seed(0)
    refiner = BoxRefiner().eval()
    torch.nn.init.normal_(refiner.head[-1].weight)
    image = torch.rand(1, 1, 200, 200)
    box = torch.tensor([[90.0, 110.0, 0.4, 30.0, 45.0]])
    mirrored_box = torch.tensor([[199.0 - 90.0, 110.0, -0.4, 30.0, 45.0]])
    change, mirrored = refiner.both_sides(image, box), refiner.both_sides(image.flip(3), mirrored_box)
    torch.testing.assert_close(mirrored, change * torch.tensor([-1.0, 1.0, -1.0, 1.0, 1.0]), atol=1e-4, rtol=1e-3)


def _with_ship(seed: int, box: OrientedBox, tail: float = 1 / 3, lines: int = 0) -> torch.Tensor:
    """Draw a box's contour over noise, and some lines across the image, as the generator's pixels are distributed."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((200, 200), np.uint8)
    hypothesis = torch.cat([_row(box), torch.tensor([tail])])
    cv2.polylines(mask, [corners(hypothesis).numpy().astype(np.int32)], True, 1)
    for _ in range(lines):
        first, last = rng.integers(0, 200, (2, 2)).tolist()
        cv2.line(mask, first, last, 1)
    image = np.maximum(mask * rng.random((200, 200)), 0.8 * rng.random((200, 200)))
    return torch.from_numpy(image.astype(np.float32))[None, None]


def _row(box: OrientedBox) -> torch.Tensor:
    """A box as the network has it: its yaw turns the other way."""
    return torch.tensor([box.x, box.y, -box.yaw, box.width, box.height])


def _box(row: torch.Tensor) -> OrientedBox:
    x, y, yaw, width, height = row.tolist()
    return OrientedBox(x, y, -yaw, width, height)


def _off(box: OrientedBox) -> OrientedBox:
    return _box(changed(_row(box)[None], torch.tensor([[0.12, -0.06, 0.12, 0.14, -0.14]]))[0])


def _fitted(image: torch.Tensor, *starts: OrientedBox) -> OrientedBox:
    return _box(ContourFit()(image, torch.stack([_row(box) for box in starts])[None])[0])


@pytest.mark.parametrize("turn", range(4))
def test_a_box_that_is_off_moves_back_to_the_contour_with_its_heading(turn: int) -> None:
    for seed in range(4):
        truth = OrientedBox(
            60.0 + 20 * seed, 120.0 - 15 * seed, -0.3 - 0.5 * np.pi * turn, 22.0 + 4 * seed, 38.0 + 4 * seed
        )
        start = _off(truth)
        fitted = _fitted(_with_ship(seed, truth, lines=6), start)
        assert start.iou(truth) < 0.7
        assert fitted.iou(truth) > 0.85
        assert np.degrees(fitted.heading_error(truth)) < 5.0


def test_of_several_places_the_one_with_a_contour_is_chosen() -> None:
    truth = OrientedBox(140.0, 60.0, 2.0, 28.0, 42.0)
    elsewhere = [OrientedBox(60.0, 140.0, 0.0, 28.0, 42.0), OrientedBox(100.0, 30.0, 4.0, 20.0, 30.0)]
    for order in ([truth, *elsewhere], [*elsewhere, truth]):
        assert _fitted(_with_ship(0, truth, lines=3), *order).iou(truth) > 0.85


def test_edges_that_go_on_as_lines_speak_for_no_contour() -> None:
    box = OrientedBox(100.0, 100.0, 0.0, 30.0, 46.0)
    hypothesis = torch.cat([_row(box), torch.tensor([1 / 3])])
    image = _with_ship(0, box)
    crossed = image.clone()
    mask = np.zeros((200, 200), np.uint8)
    points = corners(hypothesis).numpy()
    for first, last in zip(points, np.roll(points, -1, axis=0)):
        middle, reach = (first + last) / 2, (last - first) * 1.3
        cv2.line(mask, (middle - reach).astype(int).tolist(), (middle + reach).astype(int).tolist(), 1)
    lines = torch.from_numpy(np.random.default_rng(1).random((200, 200), np.float32) * mask)
    crossed = torch.maximum(crossed, lines)
    hypotheses = hypothesis[None, None, None]
    alone = lone_support(log_ratios(image), hypotheses)
    assert float(alone) > 30.0
    assert float(lone_support(log_ratios(crossed), hypotheses)) < 0.7 * float(alone)
    assert float(support(log_ratios(crossed), hypotheses)) > 30.0


def test_the_contour_is_read_as_the_generator_draws_it() -> None:
    read = []
    for seed in range(1_900_000_000, 1_900_000_040):
        image, label = spaceship_sample(seed)
        if np.isnan(label[0]):
            continue
        tails = torch.linspace(0.1, 0.6, 26)
        hypotheses = torch.cat([_row(OrientedBox(*label)).float().expand(26, 5), tails[:, None]], dim=1)[None, None]
        turned = hypotheses.clone()
        turned[..., 2] += 0.5
        ratios = log_ratios(torch.from_numpy(image)[None, None])
        read.append([float(support(ratios, h).max()) for h in (hypotheses, turned)])
    at_truth, off = np.array(read).T
    assert np.mean(at_truth > off) > 0.95
    assert np.median(at_truth) > 40.0
    assert np.median(off) < 0.0


def test_the_contours_pixels_are_those_that_the_generator_draws() -> None:
    for turn in np.linspace(0.0, 2 * np.pi, 25):
        hypothesis = torch.cat([_row(OrientedBox(100.0, 100.0, float(turn), 26.0, 40.0)), torch.tensor([1 / 3])])
        image = np.zeros((200, 200), np.float32)
        ends = corners(hypothesis).int().tolist()
        for first, last in zip(ends, ends[1:] + ends[:1]):
            draw_line(image, *first, *last)
        pixels, drawn = contour_pixels(hypothesis)
        x, y = pixels[drawn].long().T.tolist()
        read = np.zeros((200, 200), bool)
        read[y, x] = True
        np.testing.assert_array_equal(read, image > 0)


@pytest.mark.parametrize("turn", range(5))
def test_the_search_finds_a_contour_from_a_box_that_points_elsewhere(turn: int) -> None:
    truth = OrientedBox(90.0 + 5 * turn, 110.0, 0.4 + 1.25 * turn, 30.0, 44.0)
    wrong = OrientedBox(truth.x - 8.0, truth.y + 7.0, truth.yaw + 2.2, 24.0, 30.0)
    image = _with_ship(turn, truth, lines=6)
    assert _fitted(image, wrong).iou(truth) < 0.7
    starts = [_box(row) for row in ContourSearch()(image, _row(wrong)[None].float())[0]]
    assert max(start.iou(truth) for start in starts if start.heading_error(truth) < 0.3) > 0.6
    assert _fitted(image, wrong, *starts).iou(truth) > 0.7


def test_an_export_fits_as_torch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    exported = ExportedOriented(OrientedNetwork()).eval()
    card = ModelCard("oriented", LAYOUT, labels=("spaceship",), input_wh=(200, 200))
    assert export_onnx(Exportable(exported, card, ("box",), channels=1), tmp_path / "oriented.onnx") < 1e-3
