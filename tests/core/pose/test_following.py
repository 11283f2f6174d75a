"""Known poses in another image: found where depth shows them, each object once."""

from __future__ import annotations

import dataclasses

import numpy as np

from object_pose.core.geometry import se3
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.pose import RejectionReason
from pose_scene import BRACKET_ID, MODELS
from poses import pose_of
from raycast import BRACKET, CAMERA, render_depth

POSE = se3.make_transform(se3.exp_so3([0.5, -0.4, 0.3]), (-0.06, 0.0, 0.45))
KNOWN = dataclasses.replace(pose_of(MODELS[BRACKET_ID], BRACKET_ID, POSE), score=0.9, track_id=3)


def test_a_pose_is_found_where_its_object_has_moved() -> None:
    moved = se3.make_transform(POSE[:3, :3], POSE[:3, 3] + (0.008, 0.003, 0.01))
    found = PoseSolver(MODELS).follow([KNOWN], CAMERA, render_depth([(BRACKET, moved)], background_m=0.7))
    (pose,) = found.poses
    assert (pose.track_id, pose.depth_used, found.rejections) == (3, True, ())
    np.testing.assert_allclose(pose.T_camera_object[:3, 3], moved[:3, 3], atol=0.002)
    assert np.all(np.linalg.eigvalsh(pose.covariance) > 0.0)


def test_two_known_poses_do_not_share_one_object() -> None:
    beside = se3.make_transform(POSE[:3, :3], POSE[:3, 3] + (0.012, 0.0, -0.012))
    other = dataclasses.replace(KNOWN, T_camera_object=beside, track_id=7)
    found = PoseSolver(MODELS).follow([KNOWN, other], CAMERA, render_depth([(BRACKET, POSE)], background_m=0.7))
    assert len(found.poses) == len(found.rejections) == 1
    assert {found.poses[0].track_id, found.rejections[0].track_id} == {3, 7}
    assert found.rejections[0].reason in (RejectionReason.DUPLICATE, RejectionReason.LOST)


def test_nothing_is_followed_where_nothing_is_known() -> None:
    found = PoseSolver(MODELS).follow([], CAMERA, render_depth([(BRACKET, POSE)]))
    assert found.poses == found.rejections == ()
