"""One pose an object from several cameras: nearer the truth than each, surer where they agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cube import make_cube
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.metrics.pose import rotation_error
from object_pose.core.pose.fusion import fuse_views
from poses import pose_of

CUBE = make_cube()
T_WORLD_CUBE = se3.exp([0.3, -0.1, 0.02, 0.4, -0.2, 1.0])


def seen(T, sigma_m=(0.002, 0.002, 0.002), sigma_rad=0.02, score=0.8, class_id=0):
    covariance = np.diag(np.square([*sigma_m, *[sigma_rad] * 3]))
    return pose_of(CUBE, class_id, T, covariance=covariance, score=score)


def test_views_across_each_other_give_the_place_that_each_sees_well(cube):
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(50):
        views = []
        for sigma in ((0.010, 0.001, 0.001), (0.001, 0.010, 0.001), (0.005, 0.005, 0.005)):
            noise = generator.normal(0.0, [*sigma, 0.01, 0.01, 0.01])
            turned = se3.exp_so3(noise[3:]) @ T_WORLD_CUBE[:3, :3]
            views.append([seen(se3.make_transform(turned, T_WORLD_CUBE[:3, 3] + noise[:3]), sigma, 0.01)])
        (fused,) = fuse_views(views, [cube], 0.3)
        error = fused.T_camera_object[:3, 3] - T_WORLD_CUBE[:3, 3]
        errors.append(error)
        assert fused.score > 0.95
        assert np.trace(fused.covariance) < min(np.trace(pose.covariance) for (pose,) in views)
    assert np.sqrt(np.mean(np.square(errors), axis=0)).max() < 0.0015
    nees = [error @ np.linalg.solve(fused.covariance[:3, :3], error) for error in errors]
    assert 2.0 < np.mean(nees) < 4.0


def test_symmetric_poses_are_one(cube):
    turn = se3.make_transform(se3.exp_so3([0.0, 0.0, np.pi]))
    symmetric = replace(cube, symmetry=Symmetry(discrete=turn[None]))
    (fused,) = fuse_views([[seen(T_WORLD_CUBE)], [seen(T_WORLD_CUBE @ turn)]], [symmetric], 0.3)
    assert rotation_error(fused.T_camera_object, T_WORLD_CUBE, symmetric.symmetry) < 1e-6


def test_what_one_view_alone_shows_stays_and_one_that_contradicts_counts_little(cube):
    away = se3.make_transform(translation=(0.5, 0.0, 0.0)) @ T_WORLD_CUBE
    tilted = T_WORLD_CUBE @ se3.exp([0.0, 0.0, 0.0, 1.2, 0.0, 0.0])
    fused = fuse_views([[seen(T_WORLD_CUBE), seen(away)], [seen(tilted, sigma_rad=0.03)], []], [cube], 0.3)
    assert len(fused) == 2
    first = min(fused, key=lambda pose: np.linalg.norm(pose.T_camera_object[:3, 3] - T_WORLD_CUBE[:3, 3]))
    assert np.rad2deg(se3.rotation_angle(first.T_camera_object[:3, :3], T_WORLD_CUBE[:3, :3])) < 10.0
    assert first.score == pytest.approx(0.8)


def test_two_objects_side_by_side_in_one_view_are_two(cube):
    beside = se3.make_transform(translation=(0.07, 0.0, 0.0)) @ T_WORLD_CUBE
    both = [seen(T_WORLD_CUBE), seen(beside)]
    assert len(fuse_views([both, both], [cube], 0.3)) == 2
    assert fuse_views([[], []], [cube], 0.3) == []
