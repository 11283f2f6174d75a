"""Camera intrinsics: one meaning in messages and in every file form, and errors that name file and field."""

import contextlib
import dataclasses
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.io.bags import make_typestore
from object_pose.io.camera_info import (
    CameraInfo,
    Roi,
    info_from_message,
    info_of_camera,
    message_fields,
    nominal_camera,
    read_camera,
    read_camera_info,
    write_camera,
    write_camera_info,
)

K = (600.0, 0.0, 319.5, 0.0, 601.0, 239.5, 0.0, 0.0, 1.0)
P = (580.0, 0.0, 310.5, 0.0, 0.0, 580.0, 236.5, 0.0, 0.0, 0.0, 1.0, 0.0)
YAML = {
    "image_width": 640,
    "image_height": 480,
    "camera_matrix": {"rows": 3, "cols": 3, "data": list(K)},
    "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, -0.2, 0.001, 0.002, 0.05]},
    "projection_matrix": {"rows": 3, "cols": 4, "data": list(P)},
}
BOP = {"width": 640, "height": 480, "fx": 572.4114, "fy": 573.57043, "cx": 325.2611, "cy": 242.04899}
LENS = Camera(640, 480, 600, 601, 319.5, 239.5, (0.1, -0.2, 0.001, 0.002, 0.05))
# As 'ros2 topic echo --once .../camera_info > file' leaves it.
ECHO = f"""header:
  stamp:
    sec: 1
    nanosec: 2
  frame_id: camera_color_optical_frame
height: 480
width: 640
distortion_model: plumb_bob
d: [0.1, -0.2, 0.001, 0.002, 0.05]
k: {list(K)}
r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
p: {list(P)}
binning_x: 0
binning_y: 0
roi:
  x_offset: 0
  y_offset: 0
  height: 0
  width: 0
  do_rectify: false
"""

floats = st.floats(-1e6, 1e6, allow_nan=False)
infos = st.builds(
    CameraInfo,
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    k=st.tuples(*[floats] * 9),
    distortion_model=st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant", "", "thin_prism"]),
    d=st.lists(floats, max_size=14).map(tuple),
    r=st.tuples(*[floats] * 9),
    p=st.tuples(*[floats] * 12),
    binning_x=st.integers(0, 4),
    binning_y=st.integers(0, 4),
    roi=st.builds(Roi, *[st.integers(0, 2000)] * 4),
)


@pytest.fixture(scope="module")
def types():
    return make_typestore().types


def write(path, values):
    path.write_text(yaml.safe_dump(values))
    return path


@given(infos)
def test_message_and_yaml_carry_everything(tmp_path_factory, types, info):
    path = tmp_path_factory.getbasetemp() / "info.yaml"
    write_camera_info(path, info)
    assert read_camera_info(path) == info
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "camera")
    fields = message_fields(info, types["sensor_msgs/msg/RegionOfInterest"])
    message = types["sensor_msgs/msg/CameraInfo"](header=header, **fields)
    assert info_from_message(message) == info
    ros1 = SimpleNamespace(**{name.upper() if len(name) == 1 else name: value for name, value in fields.items()})
    assert info_from_message(ros1) == info


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("none", ()),
        ("plumb_bob", (0.1, -0.2, 0.001, 0.002, 0.05)),
        ("rational_polynomial", (0.01,) * 8),
        ("rational_polynomial", (0.01,) * 12),
        ("rational_polynomial", (0.01,) * 14),
        ("equidistant", (0.05, -0.1, 0.08, 0.02)),
        ("equidistant", (0.0,) * 4),
    ],
)
def test_cameras_come_back_from_files(tmp_path, model, distortion):
    camera = Camera(640, 480, 600.25, 601.5, 319.5, 239.5, distortion, model)
    write_camera(tmp_path / "camera.yaml", camera)
    assert read_camera(tmp_path / "camera.yaml") == camera
    assert info_of_camera(camera).camera() == camera
    assert info_of_camera(camera).camera(rectified=True) == Camera(640, 480, 600.25, 601.5, 319.5, 239.5)


@pytest.mark.parametrize(
    ("sent", "model", "coefficients"),
    [
        (("plumb_bob", (0.1, -0.2, 0.001, 0.002, 0.05, 0.3, 0.2, 0.1)), "rational_polynomial", 8),  # Orbbec
        (("plumb_bob", (0.1, -0.2, 0.001, 0.002, 0.05, 0.0, 0.0, 0.0)), "plumb_bob", 5),
        (("plumb_bob", (0.1,) * 5 + (0.0,) * 2), "plumb_bob", 5),
        (("plumb_bob", (0.1,) * 12 + (0.0,) * 2), "rational_polynomial", 14),
        (("rational_polynomial", (0.1,) * 5), "plumb_bob", 5),
        (("equidistant", (0.1, -0.2, 0.3, 0.4, 0.0, 0.0, 0.0, 0.0)), "equidistant", 4),
        (("fisheye", (0.0,) * 5), "equidistant", 4),
    ],
)
def test_coefficients_that_drivers_pad_or_misname_are_read(sent, model, coefficients):
    camera = CameraInfo(640, 480, K, *sent).camera()
    assert (camera.distortion_model, camera.distortion) == (model, sent[1][:coefficients])


@pytest.mark.parametrize("transposed", [False, True])
def test_a_matrix_written_by_columns_is_refused_raw_and_rectified(transposed):
    k, p = np.reshape(K, (3, 3)), np.reshape(P, (3, 4))[:, :3]
    k, p = (matrix.T if transposed else matrix for matrix in (k, p))
    info = CameraInfo(640, 480, tuple(k.ravel()), p=tuple(np.column_stack([p, np.zeros(3)]).ravel()))
    for rectified in (False, True):
        if transposed:
            with pytest.raises(CalibrationError, match=r"last row of the camera matrix.*written by columns"):
                info.camera(rectified)
        else:
            assert info.camera(rectified).fx in (600.0, 580.0)


@pytest.mark.parametrize(("skew", "is_refused"), [(0.0, False), (0.5, False), (-3.0, True), (600.0, True)])
def test_a_skew_that_matters_is_refused(skew, is_refused):
    info = CameraInfo(640, 480, (600.0, skew, *K[2:]))
    if is_refused:
        with pytest.raises(CalibrationError, match=r"skew of .*calibrate without"):
            info.camera()
    else:
        assert info.camera().cx == 319.5


def test_zeros_are_no_distortion_unless_it_is_a_fisheye():
    assert CameraInfo(640, 480, K, "plumb_bob", (0.0,) * 5).camera().distortion_model == "none"
    assert CameraInfo(640, 480, K).camera() == Camera(640, 480, 600, 601, 319.5, 239.5)
    fisheye = CameraInfo(640, 480, K, "fisheye", (0.0,) * 4).camera()
    assert fisheye.distortion_model == "equidistant" and fisheye.is_distorted


def test_every_form_of_file_is_read(tmp_path):
    assert read_camera(write(tmp_path / "camera.yaml", YAML)) == LENS
    (tmp_path / "camera.json").write_text(json.dumps(BOP | {"depth_scale": 0.1}))
    bop = read_camera_info(tmp_path / "camera.json")
    assert bop.camera() == Camera(640, 480, 572.4114, 573.57043, 325.2611, 242.04899) and bop.depth_scale == 0.1
    for name, text in (("echo", ECHO), ("once", ECHO + "---\n"), ("twice", ECHO + "---\n" + ECHO)):
        (tmp_path / name).write_text(text)
        assert read_camera(tmp_path / name) == LENS
        assert read_camera(tmp_path / name, rectified=True) == Camera(640, 480, 580, 580, 310.5, 236.5)


def test_files_of_opencvs_calibration_are_read(tmp_path):
    storage = cv2.FileStorage(str(tmp_path / "camera.yml"), cv2.FILE_STORAGE_WRITE)
    for name, value in (("image_width", 640), ("image_height", 480), ("flags", 0)):
        storage.write(name, value)
    storage.write("camera_matrix", LENS.matrix)
    storage.write("distortion_coefficients", np.array([LENS.distortion]))
    storage.release()
    assert "%YAML:1.0" in (tmp_path / "camera.yml").read_text()
    assert read_camera(tmp_path / "camera.yml") == LENS


@pytest.mark.parametrize("fisheye", [0, 1])
def test_opencvs_other_names_and_its_fisheye_flag(tmp_path, fisheye):
    storage = cv2.FileStorage(str(tmp_path / "camera.yml"), cv2.FILE_STORAGE_WRITE)
    for name, value in (("image_Width", 640), ("image_Height", 480), ("fisheye_model", fisheye)):
        storage.write(name, value)
    storage.write("Camera_Matrix", LENS.matrix)
    storage.write("dist_coeffs", np.array([0.05, -0.1, 1e-5, 2e-3]))
    storage.release()
    camera = read_camera(tmp_path / "camera.yml")
    assert camera.distortion == (0.05, -0.1, 1e-5, 2e-3)
    assert camera.distortion_model == ("equidistant" if fisheye else "plumb_bob")


def test_numbers_with_an_exponent_are_numbers(tmp_path):
    (tmp_path / "camera.json").write_text('{"width": 640, "height": 480, "fx": 6e2, "fy": 6e2, "cx": 319.5, "cy": 2e2}')
    assert read_camera(tmp_path / "camera.json") == Camera(640, 480, 600, 600, 319.5, 200)


values = st.none() | st.booleans() | st.floats() | st.text(max_size=5)


@given(st.recursive(values, lambda inner: st.lists(inner)), st.data())
def test_any_value_in_a_field_is_read_or_refused(tmp_path_factory, value, data):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    names = [*YAML, "roi", "binning_x", "rectification_matrix"]
    write(path, {**YAML, data.draw(st.sampled_from(names)): value})
    with contextlib.suppress(CalibrationError):
        read_camera(path)


def test_a_matrix_may_be_rows_or_a_list(tmp_path):
    rows = [[600, 0, 319.5], [0, 601, 239.5], [0, 0, 1]]
    assert read_camera(write(tmp_path / "a.yaml", {**YAML, "camera_matrix": rows})).fy == 601


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 200), st.integers(0, 200))
def test_region_and_binning_are_those_of_the_image(bin_x, bin_y, x, y):
    info = CameraInfo(640, 480, K, binning_x=bin_x, binning_y=bin_y, roi=Roi(x, y, 240, 400))
    camera = info.camera()
    assert camera == CameraInfo(640, 480, K).camera().cropped(x, y, 400, 240).binned(bin_x, bin_y)
    assert camera.wh == (400 // bin_x, 240 // bin_y)
    # The first pixel of the image is the mean of the region's first bin_x by bin_y pixels.
    ray = (x + 0.5 * (bin_x - 1) - K[2]) / K[0], (y + 0.5 * (bin_y - 1) - K[5]) / K[4]
    np.testing.assert_allclose(camera.project(np.array([*ray, 1.0])), [0.0, 0.0], atol=1e-9)


def test_a_rectified_topic_that_is_read_with_the_raw_lens_is_noticed():
    raw = CameraInfo(640, 480, K, "plumb_bob", (0.1, 0.0, 0.0, 0.0, 0.0), p=P)
    assert "'rectified'" in raw.rectification_problem("/camera/image_rect_color")
    assert raw.rectification_problem("/camera/image_raw") == ""
    assert info_of_camera(raw.camera(rectified=True)).rectification_problem("/camera/image_rect") == ""
    with pytest.raises(CalibrationError, match="projection_matrix"):
        dataclasses.replace(raw, p=(0.0,) * 12).camera(rectified=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image_width": None}, "image_width is missing"),
        ({"image_width": "wide"}, "image_width must be a number"),
        ({"image_width": 1e300}, "image_width must be between"),
        ({"camera_matrix": None}, "camera_matrix is missing"),
        ({"camera_matrix": [1, 2, 3]}, "3 numbers, expected 9"),
        ({"camera_matrix": ["a"] * 9}, "camera_matrix must hold numbers"),
        ({"camera_matrix": [0.0] * 9}, "is the camera calibrated"),
        ({"distortion_model": "omni"}, "'omni' is not known.*plumb_bob, rational_polynomial, equidistant"),
        ({"distortion_model": "equidistant"}, "'equidistant' has 5 coefficients, expected 4"),
        ({"distortion_coefficients": {"data": [1, 2]}}, "2 coefficients"),
        ({"image_height": 0}, "640x0"),
        ({"roi": {"x_offset": 600, "width": 100, "height": 100}}, "reaches beyond"),
        ({"roi": "all"}, "roi must hold"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, changes, named):
    with pytest.raises(CalibrationError, match=named) as raised:
        read_camera(write(tmp_path / "camera.yaml", {**YAML, **changes}))
    assert "camera.yaml" in str(raised.value)


@pytest.mark.parametrize("content", [None, "", "[1, 2]", "a: [", "\x00", "[" * 100_000, "x: !!python/name:os.system"])
def test_files_that_are_no_cameras(tmp_path, content):
    if content is not None:
        (tmp_path / "camera.yaml").write_text(content)
    with pytest.raises(CalibrationError, match=r"camera\.yaml"):
        read_camera(tmp_path / "camera.yaml")


@pytest.mark.parametrize("value", ["!!bool x", "!!timestamp x", "!!int ''", "2020-99-99", "9" * 5000])
def test_yaml_that_breaks_its_parser_is_refused(tmp_path, value):
    (tmp_path / "camera.yaml").write_text(f"image_width: {value}\n")
    with pytest.raises(CalibrationError, match=r"camera\.yaml"):
        read_camera(tmp_path / "camera.yaml")


def test_aliases_that_make_gigabytes_of_a_short_file_are_refused(tmp_path):
    lines = ["l0: &l0 [0, 0, 0, 0, 0, 0, 0, 0, 0]"]
    lines += [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]" for level in range(1, 9)]
    (tmp_path / "camera.yaml").write_text("\n".join([*lines, "camera_matrix: *l8"]))
    with pytest.raises(CalibrationError, match="more than 1048576 values"):
        read_camera(tmp_path / "camera.yaml")


def test_the_nominal_camera_is_centred():
    camera = nominal_camera(640, 480)
    assert (camera.cx, camera.cy) == (319.5, 239.5) and camera.fx == pytest.approx(554.256, abs=1e-3)
