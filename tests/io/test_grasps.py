"""Grasp files: frames of grippers on parts, and what is wrong with a file in one line."""

import numpy as np
import pytest

from object_pose.core.errors import ConfigError
from object_pose.io.grasps import grasps_file, read_grasps
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import find_model


def test_the_shipped_parts_can_all_be_gripped():
    model = find_model("parts.onnx")
    grasps, card = read_grasps(grasps_file(model)), load_card(model)
    assert set(grasps) == set(card.labels)
    for item in card.objects:
        for grasp in grasps[item.name]:
            closing, place = grasp.T_object_grasp[:3, 1], grasp.T_object_grasp[:3, 3]
            # The fingers stand on both sides of what they grip, inside the part's box.
            assert np.all(np.abs(place - item.box_center) <= 0.5 * item.box_size + 1e-9)
            extent = float(np.ptp(item.points_object @ closing))
            assert grasp.width_m >= extent - 2e-3


def test_angles_and_quaternions(tmp_path):
    path = tmp_path / "grasps.yaml"
    path.write_text(
        "cube:\n"
        "  - {position: [0, 0, 0.01], rpy_deg: [180, 0, 90], width: 0.05}\n"
        "  - {position: [0, 0, 0], quat_wxyz: [0, 1, 0, 0], width: 0.04}\n"
    )
    first, second = read_grasps(path)["cube"]
    np.testing.assert_allclose(first.T_object_grasp[:3, :3] @ (0, 0, 1), (0, 0, -1), atol=1e-12)
    np.testing.assert_allclose(first.T_object_grasp[:3, :3] @ (1, 0, 0), (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(first.T_object_grasp[:3, 3], (0, 0, 0.01))
    np.testing.assert_allclose(second.T_object_grasp[:3, :3], np.diag((1.0, -1.0, -1.0)), atol=1e-12)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "must map class names"),
        ("cube: 3", "must map class names"),
        ("cube: [3]", r"cube\[0\] must have the fields"),
        ("cube: [{position: [0, 0, 0], width: 0.1}]", "one of rpy_deg and quat_wxyz"),
        ("cube: [{position: [0, 0], rpy_deg: [0, 0, 0], width: 0.1}]", "position must be 3"),
        ("cube: [{position: [0, 0, .nan], rpy_deg: [0, 0, 0], width: 0.1}]", "position must be 3"),
        (f"cube: [{{position: [0, 0, 1{'0' * 400}], rpy_deg: [0, 0, 0], width: 0.1}}]", "position must be 3"),
        ("cube: [{position: [0, 0, 0], rpy_deg: [0, 0, 0], width: 0}]", "width must be positive"),
        ("cube: [{position: [0, 0, 0], rpy_deg: [0, 0, 0], widht: 0.1}]", "unknown field 'widht'"),
        ("cube: [{position: [0, 0, 0], quat_wxyz: [1, 1, 0, 0], width: 0.1}]", "length 1"),
        ("cube: [", "is not valid YAML"),
        (None, "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, problem):
    path = tmp_path / "grasps.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        read_grasps(path)
