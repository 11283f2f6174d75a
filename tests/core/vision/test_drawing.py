"""Drawings land on what they describe, leave the input alone, and survive results outside the image."""

import dataclasses

import numpy as np
import pytest

from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseRejection, RejectionReason
from object_pose.core.vision.drawing import draw_detections, draw_poses

CAMERA = Camera(640, 480, 600.0, 600.0, 319.5, 239.5)


def make_pose(translation, rotation_vector=(0.3, 0.4, 0.1)):
    transform = se3.make_transform(se3.exp_so3(rotation_vector), translation)
    box = np.array([0.1, 0.06, 0.04])
    return ObjectPose(
        2, "gear", 0.9, transform, np.eye(6), np.zeros(3), box, np.zeros(4), 0.5, 0.001, 1.0, True, track_id=7
    )


def changed(before, after):
    """Columns x and rows y of the pixels that differ."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    return columns, rows


def test_a_3d_box_is_drawn_around_its_projection():
    black = np.zeros((480, 640, 3), np.uint8)
    drawn = draw_poses(black, [make_pose([0.05, 0.02, 0.6])], CAMERA)
    columns, rows = changed(black, drawn)
    centre = CAMERA.project(np.array([[0.05, 0.02, 0.6]]))[0]
    assert abs(np.median(columns) - centre[0]) < 30
    assert columns.min() > centre[0] - 110 and columns.max() < centre[0] + 110 and rows.max() < centre[1] + 110
    assert not black.any()


def test_a_distorted_camera_moves_the_drawing():
    black = np.zeros((480, 640, 3), np.uint8)
    pose = make_pose([0.2, 0.1, 0.5])
    straight = changed(black, draw_poses(black, [pose], CAMERA))
    lens = dataclasses.replace(CAMERA, distortion=(-0.3, 0, 0, 0, 0), distortion_model="plumb_bob")
    bent = changed(black, draw_poses(black, [pose], lens))
    assert np.median(bent[0]) < np.median(straight[0]) - 5


@pytest.mark.parametrize("translation", [[0.0, 0.0, -0.5], [0.0, 0.0, 0.01], [0.0, 0.0, 0.0]])
def test_a_pose_behind_or_through_the_camera_is_not_drawn(translation):
    black = np.zeros((480, 640, 3), np.uint8)
    assert not draw_poses(black, [make_pose(translation)], CAMERA).any()


def test_rejections_are_drawn_with_their_reason():
    black = np.zeros((480, 640, 3), np.uint8)
    box = np.array([200.0, 200.0, 300.0, 260.0])
    rejection = PoseRejection(0, "bolt", 0.5, box, RejectionReason.PNP_FAILED)
    columns, rows = changed(black, draw_poses(black, [], CAMERA, [rejection]))
    assert columns.min() >= 198 and rows.max() <= 262


def test_many_rejections_do_not_hide_the_image():
    black = np.zeros((480, 640, 3), np.uint8)
    boxes = [np.array([left, 50.0, left + 25.0, 90.0]) for left in range(0, 600, 30)]
    rejections = [
        PoseRejection(0, "bolt", index / 100, box, RejectionReason.PNP_FAILED) for index, box in enumerate(boxes)
    ]
    drawn = draw_poses(black, [], CAMERA, rejections)
    assert not drawn[:440, :440].any() and drawn[40:100, 500:].any()
    assert drawn[450:, :150].any()
    duplicates = [dataclasses.replace(item, reason=RejectionReason.DUPLICATE) for item in rejections]
    assert not draw_poses(black, [], CAMERA, duplicates).any()


def test_detections_are_drawn_at_their_boxes_and_keypoints():
    black = np.zeros((480, 640, 3), np.uint8)
    detections = Detections(
        np.array([[100.0, 100.0, 200.0, 180.0], [-50.0, -50.0, 900.0, np.nan]]),
        np.array([0.9, 0.4]),
        np.array([0, 1]),
        np.array([[[150.0, 140.0]], [[5000.0, -5000.0]]]),
        np.ones((2, 1)),
    )
    drawn = draw_detections(black, detections, ("gear", "bolt"))
    assert drawn[140, 100].any() and drawn[140, 200].any() and drawn[140, 150].any() and not drawn[160, 120].any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (24, 32, 3), (1080, 1920, 3)])
def test_any_size_of_image_will_do(shape):
    image = np.zeros(shape, np.uint8)
    detections = Detections(
        np.array([[0.0, 0.0, 1.0, 1.0]]), np.ones(1), np.zeros(1, int), np.zeros((1, 0, 2)), np.zeros((1, 0))
    )
    assert draw_detections(image, detections, ("gear",)).shape == shape
