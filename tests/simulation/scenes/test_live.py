"""The simulated camera: a scene that goes on smoothly, the same for the same seed and time."""

import numpy as np
import pytest

from object_pose.core.geometry import se3
from object_pose.simulation.parts.procedural import PART_NAMES
from object_pose.simulation.scenes.live import LiveConfig, LiveScene

SMALL = LiveConfig(width=160, height=120, focal_px=152.5)


@pytest.fixture(scope="module")
def live():
    return LiveScene(3, SMALL)


def test_a_moment_looks_the_same_whenever_it_is_asked_for(live):
    first = live.frame(4.2, 1)
    live.frame(9.0, 2)
    again = live.frame(4.2, 1)
    np.testing.assert_array_equal(first.frame.rgb, again.frame.rgb)
    np.testing.assert_array_equal(first.frame.depth_m, again.frame.depth_m)
    other = LiveScene(3, SMALL).frame(4.2, 1)
    np.testing.assert_array_equal(first.frame.rgb, other.frame.rgb)


def test_frames_carry_stamp_camera_colour_and_depth(live):
    frame = live.frame(1.0, 123456789).frame
    assert frame.stamp_ns == 123456789 and frame.camera == SMALL.camera
    assert frame.rgb.dtype == np.uint8 and frame.rgb.std() > 5
    assert (frame.depth_m > 0).mean() > 0.85


def test_every_part_is_on_the_bench(live):
    seen = {truth.class_name for time_s in (4.0, 12.0) for truth in live.frame(time_s, 0).truths}
    assert seen == set(PART_NAMES)


def test_parts_rest_in_the_world_while_the_camera_moves(live):
    def world_poses(time_s):
        pose = live.T_world_camera(time_s)
        truths = live.frame(time_s, 0).truths
        return [(truth.class_name, pose @ truth.T_camera_object) for truth in truths]

    before, after = world_poses(4.0), world_poses(5.0)
    assert se3.rotation_angle(live.T_world_camera(4.0)[:3, :3], live.T_world_camera(5.0)[:3, :3]) > 0.01
    for name, pose in before:
        assert min(np.abs(pose - other).max() for same, other in after if same == name) < 1e-9


def test_the_camera_moves_smoothly_at_the_asked_pace(live):
    times = np.arange(0.0, 30.0, 1 / 30)
    eyes = np.array([live.T_world_camera(t)[:3, 3] for t in times])
    assert np.linalg.norm(np.diff(eyes, axis=0), axis=1).max() < 0.01
    still = LiveScene(3, LiveConfig(width=64, height=64, motion=0.0))
    np.testing.assert_array_equal(still.T_world_camera(0.0), still.T_world_camera(8.0))


def test_something_passes_in_front_unless_switched_off(live):
    empty = LiveScene(3, LiveConfig(width=160, height=120, focal_px=152.5, occlusion=False))

    def lowest_visibility(scene):
        return min(truth.visibility for k in range(12) for truth in scene.frame(9.0 + 0.25 * k, 0).truths)

    assert lowest_visibility(live) < lowest_visibility(empty)


def test_a_bin_has_walls(live):
    parts_in_bin = LiveScene(3, LiveConfig(width=160, height=120, focal_px=152.5, bin=True))
    assert {truth.class_name for truth in parts_in_bin.frame(4.0, 0).truths} == set(PART_NAMES)


def test_a_camera_with_a_depth_error_has_it():
    biased = LiveScene(3, LiveConfig(width=160, height=120, focal_px=152.5, depth_scale_error=0.02))
    exact = LiveScene(3, SMALL)
    a, b = biased.frame(4.0, 0).frame.depth_m, exact.frame(4.0, 0).frame.depth_m
    both = (a > 0) & (b > 0)
    assert np.median(a[both] / b[both]) == pytest.approx(1.02, abs=2e-3)
