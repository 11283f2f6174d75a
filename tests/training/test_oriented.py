"""The oriented network: its maps decode to boxes, its second look sees boxes upright and changes them rightly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from object_pose.training.oriented_network import (  # noqa: E402
    STRIDE,
    BoxRefiner,
    ExportedOriented,
    OrientedNetwork,
    changed,
    changes_between,
    likeliest_boxes,
    windows,
)

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


def test_what_is_found_turns_with_the_image() -> None:
    torch.manual_seed(3)
    network = OrientedNetwork().eval()
    torch.nn.init.constant_(network.cells[-1].bias, -4.0)  # so that no view is sure, and one is the surest
    exported = ExportedOriented(network)
    image = torch.rand(1, 1, 200, 200)
    score, x, y, yaw, width, height = exported(image)[0].tolist()
    turned = exported(image.rot90(1, (2, 3)))[0].tolist()
    # A point (x, y) lies at (y, 199 - x) of the image turned counterclockwise.
    np.testing.assert_allclose(turned[:3], [score, y, 199.0 - x], atol=1e-2)
    np.testing.assert_allclose(turned[4:], [width, height], rtol=1e-3)
    assert abs((turned[3] - yaw + np.pi / 2 + np.pi) % (2 * np.pi) - np.pi) < 1e-3


def test_a_mirrored_window_asks_for_the_mirrored_change() -> None:
    torch.manual_seed(0)
    refiner = BoxRefiner().eval()
    torch.nn.init.normal_(refiner.head[-1].weight)
    image = torch.rand(1, 1, 200, 200)
    box = torch.tensor([[90.0, 110.0, 0.4, 30.0, 45.0]])
    mirrored_box = torch.tensor([[199.0 - 90.0, 110.0, -0.4, 30.0, 45.0]])
    change, mirrored = refiner.both_sides(image, box), refiner.both_sides(image.flip(3), mirrored_box)
    torch.testing.assert_close(mirrored, change * torch.tensor([-1.0, 1.0, -1.0, 1.0, 1.0]), atol=1e-4, rtol=1e-3)
