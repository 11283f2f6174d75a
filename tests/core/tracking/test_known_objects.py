"""Poses that are followed: how sure they stay while less of them is seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose
from object_pose.core.tracking.known_objects import KnownObjects
from object_pose.core.tracking.view_model import ViewModel
from pose_scene import BRACKET_ID, MODELS, SOLIDS
from poses import pose_of
from raycast import CAMERA, Box, render_depth

_POSE = se3.make_transform(se3.exp_so3((0.5, -0.7, 0.4)), (0.0, 0.0, 0.5))
# Where it is expected: 3 mm and 0.03 rad.
_COVARIANCE = np.diag(np.repeat([0.003, 0.03], 3) ** 2)


@pytest.fixture(scope="module")
def known() -> KnownObjects:
    return KnownObjects(MODELS[: BRACKET_ID + 1], [ViewModel.of(MODELS[BRACKET_ID], 162)])


def frame_behind_arm(left_m: float) -> Frame:
    """Return a grey frame of the bracket before a wall, with an arm before it, whose left edge is at ``left_m``."""
    arm = (Box((left_m, -0.2, 0.25), (0.3, 0.2, 0.28)),)
    depth_m = render_depth([(SOLIDS[BRACKET_ID], _POSE), (arm, np.eye(4))], CAMERA, 0.7)
    return Frame(np.full((*depth_m.shape, 3), 115, np.uint8), CAMERA, depth_m)


def followed(known: KnownObjects, frame: Frame, visibility: float, score: float = 0.9) -> ObjectPose:
    """Return the pose of the only object, found with a ``score`` while ``visibility`` of it was seen."""
    told = {"score": score, "visibility": visibility, "covariance": _COVARIANCE, "track_id": 1}
    (pose,) = known.align(frame, [pose_of(MODELS[BRACKET_ID], BRACKET_ID, _POSE, **told)]).poses
    return pose


def test_what_was_hidden_when_it_was_found_lowers_the_score_once(known: KnownObjects) -> None:
    frame = frame_behind_arm(0.0)
    now = followed(known, frame, 1.0)
    assert 0.15 < now.visibility < 0.65
    as_found = followed(known, frame, now.visibility)
    assert as_found.score == pytest.approx(0.9)
    assert now.score < 0.95 * as_found.score
    np.testing.assert_allclose(as_found.T_camera_object, now.T_camera_object)


def test_what_is_covered_later_counts_against_a_pose_that_was_half_hidden_already(known: KnownObjects) -> None:
    acceptance = dataclasses.replace(known._config.acceptance, min_score=0.01)
    lenient = KnownObjects(MODELS[: BRACKET_ID + 1], known._views)
    lenient.configure(dataclasses.replace(known._config, acceptance=acceptance))
    before = followed(lenient, frame_behind_arm(0.0), 1.0).visibility
    later = followed(lenient, frame_behind_arm(-0.012), before)
    assert later.visibility < 0.9 * before
    assert later.score < 0.89


def test_what_is_uncovered_is_no_surer_than_when_it_was_found(known: KnownObjects) -> None:
    free = followed(known, frame_behind_arm(0.2), 0.4, score=0.6)
    assert free.visibility > 0.8
    assert free.score == pytest.approx(0.6)
