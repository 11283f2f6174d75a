"""The common cause of offsets between the image and depth: found, sized, and not seen where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from object_pose.core.arrays import Array
from object_pose.core.pose.misalignment import Cause, Misalignment, MisalignmentMonitor, find_misalignment
from object_pose.core.results.pose import ImageOffset

_UNKNOWN = np.full((8, 2), np.nan)


def offsets_of(shifts: Array, rng: np.random.Generator, log_scale: float = 0.0) -> list[ImageOffset]:
    """Return the offsets of objects anywhere in the image, with noise of 2 px and 3 % of the size."""
    noisy = shifts + rng.normal(0.0, 2.0, shifts.shape)
    scales = log_scale + rng.normal(0.0, 0.03, len(shifts))
    centers = rng.uniform((50, 50), (590, 430), shifts.shape)
    return [ImageOffset(center, shift, 3.0, scale, 0.04) for center, shift, scale in zip(centers, noisy, scales)]


def cause_of(offsets: list[ImageOffset], velocities: Array = _UNKNOWN) -> Misalignment:
    found = find_misalignment(offsets, velocities)
    assert found is not None
    return found


@pytest.mark.parametrize("shift", [(15.0, 0.0), (-10.0, 12.0), (0.0, 40.0)])
def test_depth_moved_sideways_is_named_with_its_shift(shift: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    offsets = offsets_of(np.tile(shift, (8, 1)), rng)
    # Two objects are occluded, and tell nothing true.
    for index in (0, 5):
        offsets[index] = ImageOffset(np.zeros(2), rng.uniform(-60.0, 60.0, 2), 3.0)
    found = cause_of(offsets)
    assert found.cause is Cause.SHIFT
    np.testing.assert_allclose(found.parameters, shift, atol=2.0)
    assert np.sqrt(found.covariance.diagonal()).max() < 2.0


def test_a_wrong_focal_length_is_named_with_its_share() -> None:
    found = cause_of(offsets_of(np.zeros((8, 2)), np.random.default_rng(4), np.log(1.2)))
    assert found.cause is Cause.SCALE
    assert abs(np.exp(found.parameters[0]) - 1.2) < 0.05


def test_a_time_offset_is_named_where_objects_move_unlike() -> None:
    rng = np.random.default_rng(5)
    velocities = rng.uniform(-400.0, 400.0, (8, 2))
    found = cause_of(offsets_of(0.05 * velocities, rng), velocities)
    assert found.cause is Cause.DELAY
    assert abs(found.parameters[0] - 0.05) < 0.01
    assert "before colour's" in str(found)


def test_noise_has_no_cause() -> None:
    rng = np.random.default_rng(6)
    for _ in range(200):
        offsets = offsets_of(np.zeros((8, 2)), rng)
        assert find_misalignment(offsets, rng.uniform(-200.0, 200.0, (8, 2))) is None


def test_frames_with_one_object_each_are_collected() -> None:
    monitor, rng = MisalignmentMonitor(), np.random.default_rng(7)
    found = [monitor.add(tuple(offsets_of(np.array([[12.0, 0.0]]), rng)), stamp_ns) for stamp_ns in range(6)]
    assert found[0] is None
    assert found[-1] is not None and found[-1].cause is Cause.SHIFT
    assert "depth lies -1" in str(found[-1])
