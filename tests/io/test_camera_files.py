"""Camera files: one YAML form and BOP's, and errors that name file and field."""

import json

import pytest
import yaml

from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.io.camera_files import nominal_camera, read_camera, write_camera

YAML = {
    "image_width": 640,
    "image_height": 480,
    "camera_matrix": {"rows": 3, "cols": 3, "data": [600, 0, 319.5, 0, 601, 239.5, 0, 0, 1]},
    "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, -0.2, 0.001, 0.002, 0.05]},
}
BOP = {"width": 640, "height": 480, "fx": 572.4114, "fy": 573.57043, "cx": 325.2611, "cy": 242.04899, "depth_scale": 1}


def write(path, values):
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("distortion", [(), (0.1, -0.2, 0.001, 0.002, 0.05), (0.1,) * 8])
def test_round_trip(tmp_path, distortion):
    camera = Camera(640, 480, 600.25, 601.5, 319.5, 239.5, distortion)
    write_camera(tmp_path / "camera.yaml", camera)
    back = read_camera(tmp_path / "camera.yaml")
    assert (back.matrix == camera.matrix).all() and back.wh == camera.wh
    assert back.distortion == (distortion or (0.0,) * 5)


def test_ros_and_bop_forms(tmp_path):
    ros = read_camera(write(tmp_path / "camera.yaml", YAML))
    assert ros == Camera(640, 480, 600, 601, 319.5, 239.5, (0.1, -0.2, 0.001, 0.002, 0.05))
    (tmp_path / "camera.json").write_text(json.dumps(BOP))
    assert read_camera(tmp_path / "camera.json") == Camera(640, 480, 572.4114, 573.57043, 325.2611, 242.04899)


def test_a_matrix_may_be_rows_or_a_list(tmp_path):
    rows = [[600, 0, 319.5], [0, 601, 239.5], [0, 0, 1]]
    assert read_camera(write(tmp_path / "a.yaml", {**YAML, "camera_matrix": rows})).fy == 601


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image_width": None}, "image_width is missing"),
        ({"image_width": "wide"}, "image_width must be a number"),
        ({"camera_matrix": None}, "camera_matrix is missing"),
        ({"camera_matrix": [1, 2, 3]}, "3 numbers, expected 9"),
        ({"camera_matrix": ["a"] * 9}, "camera_matrix must hold numbers"),
        ({"camera_matrix": [0.0] * 9}, "focal lengths"),
        ({"distortion_model": "equidistant"}, "distortion_model 'equidistant'"),
        ({"distortion_coefficients": {"data": [1, 2]}}, "2 coefficients"),
        ({"image_height": 0}, "640x0"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, changes, named):
    with pytest.raises(CalibrationError, match=named) as raised:
        read_camera(write(tmp_path / "camera.yaml", {**YAML, **changes}))
    assert "camera.yaml" in str(raised.value)


@pytest.mark.parametrize("content", [None, "", "[1, 2]", "a: [", "\x00"])
def test_files_that_are_no_cameras(tmp_path, content):
    if content is not None:
        (tmp_path / "camera.yaml").write_text(content)
    with pytest.raises(CalibrationError, match=r"camera\.yaml"):
        read_camera(tmp_path / "camera.yaml")


def test_the_nominal_camera_is_centred():
    camera = nominal_camera(640, 480)
    assert (camera.cx, camera.cy) == (319.5, 239.5) and camera.fx == pytest.approx(554.256, abs=1e-3)
