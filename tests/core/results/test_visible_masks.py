"""Masks of what a network saw: from a window's cells to the image's pixels, and through a lens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.geometry.camera import Camera
from object_pose.core.results.detections import (
    VisibleMask,
    VisibleMasks,
)
from object_pose.core.vision.roi import RoiWindow

_CELLS = 40
_NOWHERE = np.zeros(2, dtype=np.intp)


@given(x=st.floats(60, 260), y=st.floats(60, 180), side=st.floats(50, 110), turn=st.floats(0, 3))
def test_a_mask_that_was_cut_out_comes_back(x: float, y: float, side: float, turn: float) -> None:
    rows, columns = np.mgrid[:240, :320]
    along = np.cos(turn) * (columns - x) + np.sin(turn) * (rows - y)
    across = -np.sin(turn) * (columns - x) + np.cos(turn) * (rows - y)
    there = (np.abs(along) < 0.4 * side) & (np.abs(across) < 0.2 * side)
    window = RoiWindow(np.array([x, y]), side, 80)
    probabilities = window.cut_mask(there, _CELLS)
    assert probabilities.shape == (_CELLS, _CELLS) and 0.0 <= probabilities.min() <= probabilities.max() <= 1.0
    back = VisibleMask(probabilities, np.array([x, y, side])).over(_NOWHERE, there.shape)
    cell = side / _CELLS
    assert back.sum() == pytest.approx(there.sum(), rel=0.04)
    # A place is wrong at most on the border, where cells are shared.
    inner = (np.abs(along) < 0.4 * side - 1.5 * cell - 1) & (np.abs(across) < 0.2 * side - 1.5 * cell - 1)
    outer = (np.abs(along) > 0.4 * side + 1.5 * cell + 1) | (np.abs(across) > 0.2 * side + 1.5 * cell + 1)
    assert back[inner].min(initial=1.0) > 0.95 and back[outer].max(initial=0.0) < 0.05


def test_a_part_of_the_image_shows_the_part_of_the_mask() -> None:
    probabilities = np.random.default_rng(0).random((_CELLS, _CELLS), dtype=np.float32)
    mask = VisibleMask(probabilities, np.array([100.0, 80.0, 60.0]))
    whole = mask.over(_NOWHERE, (160, 200))
    np.testing.assert_allclose(mask.over(np.array([90, 70]), (30, 40)), whole[70:100, 90:130], atol=1e-5)
    assert not whole[:40].any() and not whole[:, :60].any()


def test_masks_are_picked_and_joined_in_order() -> None:
    masks = VisibleMasks(
        np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 2, 2), np.float32), np.zeros((3, 3))
    )
    picked = VisibleMasks.join([masks.select(np.array([2])), masks.select(np.array([True, True, False]))])
    assert picked.probabilities[:, 0, 0].tolist() == [2.0, 0.0, 1.0]
    last = picked[2]
    assert last is not None and last.probabilities.max() == 1.0
    assert VisibleMasks.unknown(2)[1] is None


def test_a_lens_moves_windows_with_the_image() -> None:
    windows = np.array([[500.0, 400.0, 80.0], [319.5, 239.5, 60.0]])
    masks = VisibleMasks(np.zeros((2, 4, 4), np.float32), windows)
    pinhole = Camera(640, 480, 600.0, 600.0, 319.5, 239.5)
    np.testing.assert_allclose(masks.undistorted(pinhole).windows, windows, atol=1e-9)
    lens = Camera(640, 480, 600.0, 600.0, 319.5, 239.5, (-0.2, 0.05, 0.0, 0.0, 0.0))
    moved = masks.undistorted(lens).windows
    np.testing.assert_allclose(moved[0, :2], lens.undistort(windows[:1, :2])[0])
    assert moved[0, 2] > 80.0 and moved[1, :2] == pytest.approx(windows[1, :2], abs=0.1)


@pytest.mark.parametrize(("probabilities", "windows"), [((2, 3, 4), (2, 3)), ((2, 3, 3), (1, 3)), ((2, 3, 3), (2, 2))])
def test_shapes_that_do_not_fit_are_refused(probabilities: tuple[int, ...], windows: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="probabilities and windows must have shapes"):
        VisibleMasks(np.zeros(probabilities, np.float32), np.zeros(windows))
