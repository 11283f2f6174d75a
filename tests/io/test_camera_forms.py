"""Camera files of other tools say the same as camera_info, in their own words."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from object_pose.core.errors import CalibrationError
from object_pose.io.camera_info import read_camera, read_camera_info

K = np.array([[600.5, 0.0, 319.5], [0.0, 601.5, 239.5], [0.0, 0.0, 1.0]])
FLAT = {"width": 640, "height": 480, "fx": 600.5, "fy": 601.5}
POINT = {"cx": 319.5, "cy": 239.5}
D = [0.1, -0.2, 0.001, 0.002, 0.01]
KALIBR = """cam0:
  camera_model: pinhole
  distortion_coeffs: [0.1, -0.2, 0.001, 0.002]
  distortion_model: radtan
  intrinsics: [600.5, 601.5, 319.5, 239.5]
  resolution: [640, 480]
"""
ORB_SLAM = """%YAML:1.0
Camera.type: "PinHole"
Camera.fx: 600.5
Camera.fy: 601.5
Camera.cx: 319.5
Camera.cy: 239.5
Camera.k1: 0.1
Camera.k2: -0.2
Camera.p1: 0.001
Camera.p2: 0.002
Camera.width: 640
Camera.height: 480
DepthMapFactor: 5000.0
"""
OST_INI = """# oST version 5.0 parameters
[image]

width
640

height
480

[narrow_stereo]

camera matrix
600.5 0.000000 319.5
0.000000 601.5 239.5
0.000000 0.000000 1.000000

distortion
0.1 -0.2 0.001 0.002 0.01

rectification
1 0 0
0 1 0
0 0 1

projection
600.5 0 319.5 0
0 601.5 239.5 0
0 0 1 0
"""
TUTORIAL = {"mtx": K.tolist(), "dist": [D], "image_size": [640, 480]}
NESTED = {"camera": {"image_width": 640, "image_height": 480, "camera_matrix": {"data": K.ravel().tolist()}}}
COLUMNS = {"width": 640, "height": 480, "intrinsic_matrix": K.T.ravel().tolist()}
COLMAP = "# Camera list\n1 OPENCV 640 480 600.5 601.5 320.0 240.0 0.1 -0.2 0.001 0.002\n"
VINS = """%YAML:1.0
---
model_type: PINHOLE
image_width: 640
image_height: 480
projection_parameters:
   fx: 600.5
   fy: 601.5
   cx: 319.5
   cy: 239.5
distortion_parameters:
   k1: 0.1
   k2: -0.2
   p1: 0.001
   p2: 0.002
"""
ECHO = f"width: 640\nheight: 480\ndistortion_model: plumb_bob\nd: {D}\nk: {K.ravel().tolist()}\n---\n"
CORNER = {"cx": 320.0, "cy": 240.0}  # the same point, counted from the first pixel's corner
NERF = {"w": 640, "h": 480, "fl_x": 600.5, "fl_y": 601.5, **CORNER, "k1": 0.1, "k2": -0.2, "p1": 0.001, "p2": 0.002}
SIX = {"k1": 0.1, "k2": -0.2, "k3": 0.01, "k4": 0.3, "k5": -0.1, "k6": 0.02, "p1": 0.001, "p2": 0.002}
EIGHT = [0.1, -0.2, 0.001, 0.002, 0.01, 0.3, -0.1, 0.02]
REALSENSE = {**FLAT, "ppx": 319.5, "ppy": 239.5, "model": "distortion.brown_conrady", "coeffs": D}


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("name", "content", "coefficients"),
    [
        ("camchain.yaml", KALIBR, [*D[:4]]),
        ("orb.yaml", ORB_SLAM, [*D[:4], 0.0]),
        ("ost.ini", OST_INI, D),
        ("tutorial.json", TUTORIAL, D),
        ("nested.json", NESTED, []),
        ("open3d.json", COLUMNS, []),
        ("transforms.json", NERF, [*D[:4], 0.0]),
        ("realsense.json", REALSENSE, D),
        ("realsense.json", REALSENSE | {"model": "inverse_brown_conrady", "coeffs": [0.0] * 5}, []),
        ("d455.json", REALSENSE | {"model": "inverse_brown_conrady"}, D),
        ("azure_kinect.json", FLAT | POINT | SIX, EIGHT),
        ("orbbec.json", FLAT | POINT | SIX | {"model": "brown_conrady"}, EIGHT),
        ("padded.json", FLAT | POINT | SIX | {"k4": 0.0, "k5": 0.0, "k6": 0.0}, D),
        ("matrix.json", {"width": 640, "height": 480, "K": K.tolist()} | SIX, EIGHT),
        ("transforms.json", NERF | {"camera_model": "OPENCV", "frames": []}, [*D[:4], 0.0]),
        ("cameras.txt", COLMAP, [*D[:4], 0.0]),
        ("vins.yaml", VINS, [*D[:4], 0.0]),
        ("megapose.json", {"K": K.tolist(), "resolution": [480, 640]}, []),
        ("params.yaml", {"/**": {"ros__parameters": NESTED}}, []),
        ("echo.yaml", "A message was lost!!!\n\ttotal count change:1\n\ttotal count: 1---\n" + ECHO, D),
        ("bop.json", {"cam_K": K.ravel().tolist(), "width": 640, "height": 480}, []),
    ],
)
def test_the_camera_is_the_same(tmp_path, name, content, coefficients):
    camera = read_camera(written(tmp_path, name, content))
    np.testing.assert_array_equal(camera.matrix, K)
    assert camera.wh == (640, 480)
    np.testing.assert_array_equal(camera.distortion, coefficients)


@pytest.mark.parametrize("suffix", ["xml", "yml", "json"])
def test_every_form_of_file_storage_is_read(tmp_path, suffix):
    path = tmp_path / f"camera.{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in (("image_width", 640), ("image_height", 480), ("camera_matrix", K)):
        storage.write(name, value)
    storage.write("distortion_coefficients", np.array([D]))
    storage.release()
    camera = read_camera(path)
    assert camera.wh == (640, 480) and camera.distortion_model == "plumb_bob"
    np.testing.assert_array_equal(camera.matrix, K)


@pytest.mark.parametrize("model", ["equi", "kannala_brandt4", "KannalaBrandt8"])
def test_fisheye_cameras_are_equidistant_whatever_their_name(tmp_path, model):
    content = FLAT | POINT | {"distortion_model": model, "D": [0.1, 0.2, 0.3, 0.4]}
    assert read_camera(written(tmp_path, "x.json", content)).distortion_model == "equidistant"
    content = NERF | {"camera_model": "OPENCV_FISHEYE", "k3": 0.3, "k4": 0.4, "p1": 0.0, "p2": 0.0}
    assert read_camera(written(tmp_path, "x.json", content)).distortion_model == "equidistant"


@pytest.mark.parametrize("coefficients", [{"k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4}, {}])
@pytest.mark.parametrize("said", [{"is_fisheye": True}, {"camera_model": "OPENCV_FISHEYE"}])
def test_a_fisheye_of_nerf_tools_is_one_with_and_without_coefficients(tmp_path, said, coefficients):
    content = {name: value for name, value in NERF.items() if name[0] not in "kp"} | coefficients | said
    camera = read_camera(written(tmp_path, "transforms.json", content))
    assert (camera.distortion_model, camera.distortion) == ("equidistant", (*coefficients.values(),) or (0.0,) * 4)
    pinhole = read_camera(written(tmp_path, "transforms.json", NERF | {"is_fisheye": False}))
    assert pinhole.distortion_model == "plumb_bob"


@pytest.mark.parametrize("flag", ["0", "1"])
def test_a_flag_in_xml_is_what_it_says(tmp_path, flag):
    path = tmp_path / "camera.xml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in (("image_width", 640), ("image_height", 480), ("fisheye_model", int(flag))):
        storage.write(name, value)
    storage.write("camera_matrix", K)
    storage.write("distortion_coefficients", np.array([D[:4]]))
    storage.release()
    assert f"<fisheye_model>{flag}</fisheye_model>" in path.read_text()
    assert read_camera(path).distortion_model == ("equidistant" if flag == "1" else "plumb_bob")


@pytest.mark.parametrize(
    ("content", "millimetres"),
    [
        (ORB_SLAM, 0.2),
        (ORB_SLAM.replace("DepthMapFactor", "RGBD.DepthMapFactor"), 0.2),
        (ORB_SLAM.replace("5000.0", "1.0"), None),  # floating-point metres
        (REALSENSE | {"depth_scale": 0.001}, 1.0),
        (REALSENSE | {"depth_scale": 0.0001}, 0.1),
        ({"depth_scale": 0.00025, "color": REALSENSE}, 0.25),
        (COLUMNS | {"depth_scale": 1000.0}, 1.0),
        (FLAT | POINT | {"depth_scale": 0.1}, 0.1),
        (FLAT | POINT | {"depth_scale": None}, None),
        (NESTED, None),
    ],
)
def test_a_depth_scale_is_millimetres_a_count_whatever_the_form_counts_in(tmp_path, content, millimetres):
    said = read_camera_info(written(tmp_path, "camera.json", content)).depth_scale
    assert said == (None if millimetres is None else pytest.approx(millimetres))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (FLAT | POINT | {"depth_scale": 0.001}, "depth_scale 0.001 means millimetres a count .* 1 mm is written as 1"),
        (FLAT | POINT | {"depth_scale": 1000}, "one count of depth would be 1000 mm"),
        ({**NESTED["camera"], "depth_scale": 0.001}, "millimetres a count"),
        (REALSENSE | {"depth_scale": 1.0}, r"means metres a count .* 1 mm is written as 0\.001"),
        (COLUMNS | {"depth_scale": 1.0}, "means counts a metre .* 1 mm is written as 1000"),
        (ORB_SLAM.replace("5000.0", "-5000"), "DepthMapFactor -5000"),
        (FLAT | POINT | {"depth_scale": -1.0}, "would be -1 mm"),
        (COLUMNS | {"depth_scale": 0.0}, "would be 0 mm"),
    ],
)
def test_a_depth_scale_that_cannot_be_is_refused(tmp_path, content, text):
    with pytest.raises(CalibrationError, match=text):
        read_camera_info(written(tmp_path, "camera.json", content))


def test_that_inverse_coefficients_are_taken_as_plumb_bob_is_logged(tmp_path, caplog):
    read_camera(written(tmp_path, "d455.json", REALSENSE | {"model": "inverse_brown_conrady"}))
    assert "'inverse_brown_conrady' is read as plumb_bob" in caplog.text


def test_text_as_powershell_writes_it_is_read(tmp_path):
    (tmp_path / "camera.yaml").write_bytes(json.dumps(FLAT | POINT).encode("utf-16"))
    assert read_camera(tmp_path / "camera.yaml").wh == (640, 480)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (REALSENSE | {"model": "ftheta"}, "'ftheta' is not known"),
        (NERF | {"camera_model": "OPENCV", "is_fisheye": True}, "is_fisheye is set, but the camera model is"),
        (NERF | {"k3": 0.1, "k4": 0.1}, "k4 is given without k5 and k6"),
        (NERF | {"is_fisheye": True}, "distortion model 'equidistant' has no p1, p2"),
        (FLAT | POINT | SIX | {"model": "equi"}, "distortion model 'equidistant' has no p1, p2, k5, k6"),
        (COLUMNS | {"intrinsic_matrix": K.ravel().tolist()}, r"row of the camera matrix is 319\.5, 239\.5, 1"),
        (KALIBR.replace("pinhole", "omni"), "camera_model 'omni'"),
        (KALIBR + KALIBR.replace("cam0", "cam1"), "it holds 2 cameras: cam0, cam1"),
        (FLAT | {"cx": 1.0}, "cy is missing"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>', "document type"),
        ("<opencv_storage><image_width>640", "neither YAML, JSON, XML nor INI"),
        (COLMAP + "2 PINHOLE 640 480 600.5 601.5 319.5 239.5\n", "it holds 2 cameras"),
        ("1 THIN_PRISM_FISHEYE 640 480 600.5 601.5 319.5 239.5\n", "camera model THIN_PRISM_FISHEYE with 4 parameters"),
        (VINS.replace("PINHOLE", "MEI"), "model_type 'MEI'"),
        ("a:\n\tb: 1\n c: [", "neither YAML, JSON, XML nor INI"),
    ],
)
def test_what_cannot_be_believed_is_named(tmp_path, content, text):
    with pytest.raises(CalibrationError, match=text):
        read_camera(written(tmp_path, "camera.txt", content))


def test_a_refusal_is_one_line(tmp_path):
    with pytest.raises(CalibrationError) as raised:
        read_camera(written(tmp_path, "camera.yaml", "a:\n\tb: 1\n c: ["))
    assert "\n" not in str(raised.value)


def test_a_fisheye_of_vins_counts_its_coefficients_from_two(tmp_path):
    text = VINS.replace("PINHOLE", "KANNALA_BRANDT").replace("fx", "mu").replace("fy", "mv")
    text = text.replace("cx", "u0").replace("cy", "v0").partition("distortion_parameters")[0]
    camera = read_camera(written(tmp_path, "vins.yaml", text + "   k2: 0.1\n   k3: 0.2\n   k4: 0.3\n   k5: 0.4\n"))
    assert (camera.distortion_model, camera.distortion) == ("equidistant", (0.1, 0.2, 0.3, 0.4))
    np.testing.assert_array_equal(camera.matrix, K)
