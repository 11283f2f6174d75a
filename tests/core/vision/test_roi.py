"""Windows around detections: colour and relief, and the way between window and image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.frame import AlignedDepth
from object_pose.core.geometry.camera import Camera
from object_pose.core.vision.roi import RoiWindow, cut_batch, normalised_batch

CAMERA = Camera(320, 240, 300.0, 300.0, 159.5, 119.5)
SIZE = 40


def _depth(near: float, far: float) -> AlignedDepth:
    """A disc of 30 pixels about the middle of the image, in front of a wall."""
    rows, columns = np.mgrid[:240, :320]
    disc = (columns - 160) ** 2 + (rows - 120) ** 2 < 30**2
    return AlignedDepth(np.where(disc, near, far).astype(np.float32), CAMERA)


@given(st.floats(0, 319), st.floats(0, 239), st.floats(4, 400))
def test_the_way_into_a_window_and_back_ends_where_it_began(x: float, y: float, side: float) -> None:
    window = RoiWindow(np.array([x, y]), side, SIZE)
    points = np.array([[12.5, 200.0], [x, y]])
    np.testing.assert_allclose(window.to_image(window.to_window(points)), points, atol=1e-6)
    np.testing.assert_allclose(window.to_window(points)[1], 0.0, atol=1e-9)


def test_colour_and_relief_of_a_window_show_the_same_places() -> None:
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[100:130, 150:190] = 255
    depth_m = np.where(rgb[..., 0] > 0, 0.5, 0.52).astype(np.float32)
    window = RoiWindow(np.array([165.3, 118.8]), 75.0, SIZE)
    relief = window.cut_relief(AlignedDepth(depth_m, CAMERA))[..., 0]
    bright = window.cut(rgb)[..., 0] > 127
    assert np.mean((relief < relief.mean()) == bright) > 0.97


def test_relief_is_measured_in_half_windows_from_the_object_on() -> None:
    window = RoiWindow.around(np.array([130.0, 90.0, 190.0, 150.0]), SIZE)
    half_side_m = 0.5 * window.side * 0.6 / 300.0
    relief = window.cut_relief(_depth(0.6, 0.6 + 0.5 * half_side_m))
    assert relief[SIZE // 2, SIZE // 2] == pytest.approx([0.0, 1.0], abs=1e-6)
    assert relief[1, 1] == pytest.approx([0.5, 1.0], abs=1e-4)
    far = window.cut_relief(_depth(0.6, 5.0))
    assert far[1, 1] == pytest.approx([1.0, 1.0])


@given(st.floats(0.3, 3.0))
def test_relief_is_the_same_for_a_scene_twice_as_far_and_twice_as_large(distance: float) -> None:
    window = RoiWindow.around(np.array([130.0, 90.0, 190.0, 150.0]), SIZE)
    near = window.cut_relief(_depth(distance, 1.02 * distance))
    far = window.cut_relief(_depth(2.0 * distance, 2.04 * distance))
    np.testing.assert_allclose(near, far, atol=1e-4)


def test_what_was_not_measured_is_flat_and_says_so() -> None:
    depth_m = np.full((240, 320), 0.6, np.float32)
    depth_m[100:110] = [np.nan, np.inf, -1.0, 0.0][0]
    depth_m[110:115] = np.inf
    depth_m[115:118] = 0.0
    relief = RoiWindow(np.array([160.0, 109.0]), 40.0, SIZE).cut_relief(AlignedDepth(depth_m, CAMERA))
    lost = relief[..., 1] == 0.0
    assert lost.any() and not lost.all()
    assert np.isfinite(relief).all() and (relief[lost] == 0.0).all()
    assert not RoiWindow(np.array([160.0, 109.0]), 40.0, SIZE).cut_relief(None).any()
    outside = RoiWindow(np.array([0.0, 0.0]), 40.0, SIZE).cut_relief(AlignedDepth(depth_m, CAMERA))
    assert not outside[:15, :, 1].any() and outside[25:, 25:, 1].all()


def test_a_batch_has_the_channels_that_the_head_reads() -> None:
    window = RoiWindow(np.array([160.0, 120.0]), 50.0, SIZE)
    rgb, relief = window.cut(np.full((240, 320, 3), 255, np.uint8)), window.cut_relief(_depth(0.6, 0.7))
    assert normalised_batch([rgb, rgb]).shape == (2, 3, SIZE, SIZE)
    batch = normalised_batch([rgb, rgb], [relief, relief])
    assert batch.shape == (2, 5, SIZE, SIZE) and batch.dtype == np.float32
    np.testing.assert_allclose(batch[0, 3:], relief.transpose(2, 0, 1))
    assert batch[0, :3].max() == 1.0


def test_a_batch_cut_at_once_is_that_of_its_windows() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    depth = AlignedDepth(rng.uniform(0.0, 1.0, (240, 320)).astype(np.float32), CAMERA)
    windows = [RoiWindow(np.array([x, 118.0]), side, SIZE) for x, side in ((20.0, 30.0), (170.3, 55.5), (300.0, 120.0))]
    windows.append(RoiWindow(np.array([-500.0, 0.0]), 30.0, SIZE))
    alone = normalised_batch([item.cut(rgb) for item in windows], [item.cut_relief(depth) for item in windows])
    np.testing.assert_array_equal(cut_batch(rgb, depth, windows), alone)
    assert not cut_batch(rgb, None, windows)[:, 3:].any()
