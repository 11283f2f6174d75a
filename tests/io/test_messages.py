"""Poses and transforms of messages, as recordings hold them: read, or refused by name."""

from types import SimpleNamespace

import numpy as np
import pytest

from object_pose.core.errors import CalibrationError, DataError
from object_pose.io.messages import extrinsics_from_message, pose_from_message, poses_from_message


def xyz(x=0.0, y=0.0, z=0.5):
    return SimpleNamespace(x=x, y=y, z=z)


def quat(x=0.0, y=0.0, z=0.0, w=1.0):
    return SimpleNamespace(x=x, y=y, z=z, w=w)


def stamped(parent="base", child="camera", rotation=None, translation=None):
    transform = SimpleNamespace(rotation=rotation or quat(), translation=translation or xyz())
    return SimpleNamespace(header=SimpleNamespace(frame_id=parent), child_frame_id=child, transform=transform)


def test_a_quaternion_of_about_unit_length_is_a_rotation():
    pose = pose_from_message(SimpleNamespace(position=xyz(), orientation=quat(0.0, 0.0, 0.7109, 0.7109)))
    np.testing.assert_allclose(pose[:3, :3], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("rotation", [quat(w=0.0), quat(x=1.0), quat(w=float("nan"))])
def test_what_is_no_rotation_is_refused_and_named(rotation):
    with pytest.raises(DataError, match=r"the transform from 'camera' to 'base': a pose at .* is no rigid transform"):
        extrinsics_from_message(stamped(rotation=rotation))


def test_places_are_finite_and_frames_differ():
    with pytest.raises(DataError, match="no rigid transform"):
        extrinsics_from_message(stamped(translation=xyz(z=float("inf"))))
    with pytest.raises(CalibrationError, match="two different frames"):
        extrinsics_from_message(stamped(child="base"))


def test_a_recorded_pose_that_is_impossible_is_refused():
    pose = SimpleNamespace(position=xyz(), orientation=quat())
    item = SimpleNamespace(
        class_id=0,
        class_name="cube",
        score=7.0,
        pose=SimpleNamespace(pose=pose, covariance=[0.0] * 36),
        box=SimpleNamespace(center=pose, size=xyz()),
        box_xyxy=[0.0, 0.0, 9.0, 9.0],
        reprojection_rms_px=0.1,
        depth_rms_m=0.001,
        visibility=1.0,
        depth_used=True,
        track_id=1,
        track_age=2,
    )
    with pytest.raises(DataError, match=r"a recorded pose is impossible: score must be in \[0, 1\], got 7"):
        poses_from_message(SimpleNamespace(poses=[item]))
