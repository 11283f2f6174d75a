"""The simulated camera costs next to nothing while it plays, and its motion has no jumps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from object_pose.core.geometry import se3
from object_pose.ros.nodes.camera_feeds import SimulatedFeed
from object_pose.simulation.parts.objects import PARTS
from object_pose.simulation.scenes.live import LiveConfig, LiveScene

SMALL = LiveConfig(width=64, height=48, focal_px=61.0)
PERIOD_S = 1 / 30


@pytest.fixture(scope="module")
def feed() -> SimulatedFeed:
    """A second of the scene."""
    return SimulatedFeed(3, PARTS, SMALL, prerendered_s=1.0)


def test_it_plays_to_and_fro_without_end(feed):
    count = 30
    views = [feed.view(step * PERIOD_S) for step in range(4 * count)]
    there_and_back = 2 * (count - 1)
    for first, again in zip(views, views[there_and_back:]):
        np.testing.assert_array_equal(first.frame.rgb, again.frame.rgb)
        np.testing.assert_array_equal(first.T_world_camera, again.T_world_camera)
    np.testing.assert_array_equal(views[count - 3].frame.rgb, views[count + 1].frame.rgb)


def test_the_camera_never_jumps(feed):
    poses = [feed.view(step * PERIOD_S).T_world_camera for step in range(90)]
    steps = [float(np.linalg.norm(se3.inverse(a)[:3, :3] @ (b - a)[:3, 3])) for a, b in itertools.pairwise(poses)]
    assert max(steps) < 0.01
    assert max(abs(after - before) for before, after in itertools.pairwise(steps)) < 0.001


def test_frames_are_those_of_the_scene(feed):
    view, rendered = feed.view(0.0), LiveScene(3, SMALL).frame(0.0, 0)
    np.testing.assert_array_equal(view.frame.rgb, rendered.frame.rgb)
    np.testing.assert_allclose(view.frame.depth_m, rendered.frame.depth_m, atol=1e-6)
    assert [truth.class_name for truth in view.truths] == [truth.class_name for truth in rendered.truths]
