"""The common cause of offsets between the image and depth: found, sized, and not seen where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from object_pose.core.arrays import Array
from object_pose.core.pose.misalignment import Cause, Misalignment, MisalignmentMonitor, find_misalignment
from object_pose.core.results.pose import ImageOffset


def offsets_of(shifts: Array, rng: np.random.Generator, log_scale: float = 0.0) -> list[ImageOffset]:
    """Return the offsets of objects anywhere in the image, with noise of 1.5 px and 4 % of the distance."""
    noisy = shifts + rng.normal(0.0, 1.5, shifts.shape)
    scales = log_scale + rng.normal(0.0, 0.04, len(shifts))
    centers = rng.uniform((50, 50), (590, 430), shifts.shape)
    return [ImageOffset(center, shift, 2.0, False, scale, 0.05) for center, shift, scale in zip(centers, noisy, scales)]


def cause_of(offsets: list[ImageOffset], velocities: Array | None = None) -> Misalignment:
    found = find_misalignment(offsets, velocities)
    assert found is not None
    return found


@pytest.mark.parametrize("shift", [(10.0, 0.0), (-10.0, 12.0), (0.0, 40.0)])
def test_depth_moved_sideways_is_named_with_its_shift(shift: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    offsets = offsets_of(np.tile(shift, (8, 1)), rng)
    # Two objects are occluded, and tell nothing true.
    for index in (0, 5):
        offsets[index] = ImageOffset(np.zeros(2), rng.uniform(-60.0, 60.0, 2), 2.0)
    found = cause_of(offsets)
    assert found.cause is Cause.SHIFT
    np.testing.assert_allclose(found.parameters, shift, atol=2.0)
    assert np.sqrt(found.covariance.diagonal()).max() < 2.0


@pytest.mark.parametrize("factor", [0.85, 1.1])
def test_a_wrong_scale_is_named_with_its_factor(factor: float) -> None:
    found = cause_of(offsets_of(np.zeros((8, 2)), np.random.default_rng(4), np.log(factor)))
    assert found.cause is Cause.SCALE
    assert abs(np.exp(found.parameters[0]) - factor) < 0.04


def test_a_time_offset_is_named_where_objects_move_unlike() -> None:
    rng = np.random.default_rng(5)
    velocities = rng.uniform(-400.0, 400.0, (8, 2))
    found = cause_of(offsets_of(0.05 * velocities, rng), velocities)
    assert found.cause is Cause.DELAY
    assert abs(found.parameters[0] - 0.05) < 0.01
    assert "before colour" in str(found)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_noise_has_no_cause(count: int) -> None:
    rng = np.random.default_rng(6)
    for _ in range(200):
        offsets = offsets_of(np.zeros((count, 2)), rng)
        assert find_misalignment(offsets, rng.uniform(-200.0, 200.0, (count, 2))) is None


def test_two_objects_must_agree() -> None:
    rng = np.random.default_rng(7)
    assert cause_of(offsets_of(np.tile((12.0, 0.0), (2, 1)), rng)).cause is Cause.SHIFT
    assert find_misalignment(offsets_of(np.array([[12.0, 0.0], [0.0, 0.0]]), rng)) is None
    assert find_misalignment(offsets_of(np.array([[12.0, 0.0], [-12.0, 0.0]]), rng)) is None


def test_one_object_in_many_places_is_many_observations_and_at_rest_it_is_one() -> None:
    rng = np.random.default_rng(8)
    moving, still = MisalignmentMonitor(), MisalignmentMonitor()
    for stamp_ns in range(6):
        (offset,) = offsets_of(np.array([[12.0, 0.0]]), rng)
        moving.add((offset,), stamp_ns)
        still.add((ImageOffset(np.array([300.0, 200.0]), offset.offset_px, 2.0),), stamp_ns)
    assert moving.found is not None and moving.found.cause is Cause.SHIFT
    assert "depth lies -1" in str(moving.found)
    assert still.found is None
