"""Contours that say whether a pose is there: however many are looked at, and whatever hides them."""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from object_pose.core.arrays import Array, Image
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera, distortion_maps
from object_pose.core.pose.contour_judge import ContourJudge
from object_pose.core.tracking.view_model import draw_view_models
from raycast import BRACKET, Box, model_of, render_depth

_CAMERA = Camera(640, 480, 600.0, 600.0, 319.5, 239.5)
_LENS = Camera(640, 480, 600.0, 600.0, 319.5, 239.5, (-0.2, 0.05, 0.001, 0.0, 0.0), "plumb_bob")
_MODEL = model_of("bracket", BRACKET)
_POSE = se3.make_transform(se3.exp_so3((0.5, -0.7, 0.4)), (0.02, -0.01, 0.5))
_ARM = (Box((0.01, -0.2, 0.25), (0.3, 0.2, 0.28)),)


@functools.cache
def judge() -> ContourJudge:
    return ContourJudge(draw_view_models([_MODEL]))


def picture(camera: Camera, *, hidden: bool = False, orange: bool = True) -> Frame:
    """Return a mottled bracket before mottled grey, orange or as grey, and its depth, with an arm before it or not."""
    depth_m = render_depth([(BRACKET, _POSE)], camera)
    covered = depth_m > 0.0
    image = np.where(covered[..., None] & orange, (190, 120, 50), (110, 115, 120)).astype(np.float64)
    depth_m[~covered] = 0.9
    if hidden:
        arm = render_depth([(_ARM, np.eye(4))], camera)
        image[arm > 0.0], depth_m[arm > 0.0] = (60, 60, 140), arm[arm > 0.0]
    image += np.random.default_rng(0).normal(0.0, 12.0, image.shape)
    rgb: Image = np.clip(image, 0, 255).astype(np.uint8)
    return Frame(rgb, camera, depth_m)


def agreement(frame: Frame, *poses: Array) -> list[float]:
    return [float(share) for share in judge().agreement(frame, np.zeros(len(poses), dtype=np.intp), np.stack(poses))]


def moved(offset: tuple[float, ...]) -> Array:
    """Return the pose after a left perturbation (dt, dr)."""
    return se3.make_transform(se3.exp_so3(offset[3:]) @ _POSE[:3, :3], _POSE[:3, 3] + offset[:3])


@settings(max_examples=20)
@given(x=st.floats(-0.002, 0.002), y=st.floats(-0.002, 0.002), turn=st.floats(-0.03, 0.03))
def test_a_pose_as_depth_gives_it_agrees_and_one_elsewhere_does_not(x: float, y: float, turn: float) -> None:
    frame = picture(_CAMERA)
    near, beside, turned = agreement(
        frame, moved((x, y, 0.0, 0.0, 0.0, turn)), moved((0.06, y, 0.0, 0.0, 0.0, 0.0)), moved((0, 0, 0, 0.0, 0.0, 1.5))
    )
    assert near > 0.7
    assert beside < 0.5 * near
    assert turned < 0.8 * near


def test_poses_are_judged_alike_alone_and_beside_others() -> None:
    frame, others = picture(_CAMERA), [moved((0.01 * step, 0.0, 0.0, 0.0, 0.0, 0.1 * step)) for step in range(20)]
    (alone,) = agreement(frame, _POSE)
    assert agreement(frame, _POSE, *others)[0] == pytest.approx(alone)
    assert agreement(frame, *others, _POSE)[-1] == pytest.approx(alone)


def test_where_colours_say_nothing_nothing_agrees() -> None:
    assert agreement(picture(_CAMERA, orange=False), _POSE)[0] < 0.2


def test_what_depth_shows_to_be_hidden_is_not_counted() -> None:
    (free,), frame = agreement(picture(_CAMERA), _POSE), picture(_CAMERA, hidden=True)
    (hidden,), (unknown,) = agreement(frame, _POSE), agreement(dataclasses.replace(frame, depth_m=None), _POSE)
    assert unknown + 0.1 < hidden < free


def test_contours_are_seen_through_a_lens_and_behind_the_camera_there_are_none() -> None:
    ideal = picture(_CAMERA)
    assert ideal.rgb is not None
    rgb = np.asarray(cv2.remap(ideal.rgb, *distortion_maps(_LENS), cv2.INTER_LINEAR), dtype=np.uint8)
    assert agreement(Frame(rgb, _LENS, None), _POSE)[0] > 0.7
    assert agreement(ideal, moved((0.0, 0.0, -1.0, 0.0, 0.0, 0.0)))[0] == 0.0
