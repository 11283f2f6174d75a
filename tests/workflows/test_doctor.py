"""What the doctor says of machines and cameras that lack something: each fault is found, and has a cure."""

import fcntl
import os
from dataclasses import replace

import numpy as np
import pytest

from object_pose.io.camera_info import CameraInfo
from object_pose.runtime.predictor import load_card
from object_pose.workflows.doctor import (
    Level,
    check_camera,
    check_depth,
    check_environment,
    check_machine,
    check_model_for_camera,
    check_models,
    check_python,
    check_shared_memory,
    check_usb_cameras,
    check_video_devices,
    time_engines,
)

WH = 640, 480
INFO = CameraInfo(
    *WH, (600.0, 0.0, 320.0, 0.0, 600.0, 240.0, 0.0, 0.0, 1.0), p=(600.0, 0, 320, 0, 0, 600, 240, 0, 0, 0, 1, 0)
)


def faults(findings):
    """Those that are not well; each says what to do."""
    found = [item for item in findings if item.level is not Level.OK]
    assert all(item.cure for item in found)
    return found


def test_this_machine_can_be_examined():
    findings = list(check_machine())
    assert {"python", "packages", "engines", "models"} <= {item.subject for item in findings}
    faults(findings)


@pytest.mark.parametrize(("version", "level"), [((3, 9), Level.ERROR), ((3, 10), Level.OK), ((3, 15), Level.ERROR)])
def test_python(version, level):
    assert check_python(version).level is level


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({}, "neither HOME nor ROS_LOG_DIR"),
        ({"HOME": "/", "ROS_DOMAIN_ID": "seven"}, "ROS_DOMAIN_ID=seven"),
        ({"HOME": "/", "ROS_DOMAIN_ID": "240"}, "ROS_DOMAIN_ID=240"),
        ({"HOME": "/", "ROS_DOMAIN_ID": "150"}, "uses ports"),
        ({"HOME": "/", "RMW_IMPLEMENTATION": "rmw_fastrtp"}, "RMW_IMPLEMENTATION=rmw_fastrtp"),
        ({"HOME": "/", "ROS_LOCALHOST_ONLY": "1"}, "other machines"),
    ],
)
def test_environment(variables, text):
    (fault,) = faults(check_environment(variables))
    assert text in fault.text


def test_shared_memory_that_is_full_or_not_there(tmp_path):
    assert "has 0 MiB free" in check_shared_memory(type(tmp_path)("/proc")).text
    assert check_shared_memory(tmp_path / "absent").level is Level.WARNING


def test_shared_memory_that_killed_programs_left_is_said_and_that_of_running_ones_is_not(tmp_path):
    for name in ("fastdds_0123", "fastdds_4567"):
        with (tmp_path / name).open("wb") as segment:
            segment.truncate(300 << 20)
        (tmp_path / f"{name}_el").touch()
    with (tmp_path / "fastdds_4567_el").open("rb") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        found = check_shared_memory(tmp_path)
    assert found.level is Level.WARNING
    assert "1 segments of ended programs hold 300 MiB" in found.text
    assert "rm" in found.cure
    (tmp_path / "fastdds_0123_el").unlink()
    (tmp_path / "fastdds_4567_el").unlink()
    assert check_shared_memory(tmp_path).level is Level.OK


def test_models_that_cannot_be_opened_are_named(cube_model, tmp_path):
    pointer = tmp_path / "pointer.onnx"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (fault,) = faults(check_models([cube_model, pointer]))
    assert "pointer.onnx is a Git LFS pointer" in fault.text
    (fault,) = faults(check_models([]))
    assert "no model" in fault.text


def test_engines_are_timed(cube_model):
    finding = next(iter(time_engines([cube_model])))
    assert "cube.onnx: onnxruntime" in finding.text and " ms" in finding.text


def test_a_realsense_on_usb_2_and_a_camera_without_permission(tmp_path):
    for name, speed in (("2-1", "480"), ("4-1", "5000")):
        folder = tmp_path / name
        folder.mkdir()
        for file, value in {"idVendor": "8086", "product": "Intel(R) RealSense(TM) D435", "speed": speed}.items():
            (folder / file).write_text(value + "\n")
    (fault,) = faults(check_usb_cameras(tmp_path))
    assert "480 Mbit/s" in fault.text
    assert not list(check_usb_cameras(tmp_path / "absent"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_video_device_without_permission(tmp_path):
    (tmp_path / "video0").touch(mode=0)
    (fault,) = faults(check_video_devices(tmp_path))
    assert "video0" in fault.text


def test_a_good_camera_has_no_fault():
    assert not faults(check_camera(INFO, "/camera/image_raw", WH, rectified=False))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"k": (600.0, 0, 960, 0, 600.0, 540, 0, 0, 1)}, "principal point"),
        ({"k": (0.6, 0, 320, 0, 0.6, 240, 0, 0, 1)}, "degrees wide"),
        ({"k": (600.0, 0, 320, 0, 480.0, 240, 0, 0, 1)}, "fx 600 and fy 480"),
        ({"k": (0.0,) * 9}, "focal"),
        ({"distortion_model": "kannala"}, "distortion_model 'kannala' is not known"),
        ({"width": 1280, "height": 720, "k": (900.0, 0, 640, 0, 900.0, 360, 0, 0, 1)}, "1280x720"),
    ],
)
def test_cameras_that_are_not_plausible(change, text):
    found = faults(check_camera(replace(INFO, **change), "/camera/image_raw", WH, rectified=False))
    assert any(text in item.text for item in found), found


def test_a_rectified_topic_read_as_raw():
    info = replace(INFO, distortion_model="plumb_bob", d=(0.1, -0.2, 0.0, 0.0, 0.0))
    (fault,) = faults(check_camera(info, "/camera/image_rect", WH, rectified=False))
    assert "looks rectified" in fault.text
    assert not faults(check_camera(info, "/camera/image_rect", WH, rectified=True))


@pytest.mark.parametrize(
    ("depth_m", "text"),
    [
        (np.full((480, 640), 600.0), "another unit"),
        (np.full((480, 640), 0.0006), "another unit"),
        (np.zeros((480, 640)), "no valid pixel"),
        (np.eye(480, 640), "0% of its pixels"),
        (np.full((240, 320), 0.6), "depth is 320x240"),
    ],
)
def test_depth_that_is_not_plausible(depth_m, text):
    (fault,) = faults(check_depth(depth_m.astype(np.float32), WH))
    assert text in fault.text + fault.cure


def test_models_that_do_not_fit_the_camera(cube_model):
    card = load_card(cube_model)
    assert not faults(check_model_for_camera(card, card.input_wh, has_depth=True))
    (fault,) = faults(check_model_for_camera(card, card.input_wh, has_depth=False))
    assert "no depth" in fault.text
    (fault,) = faults(check_model_for_camera(replace(card, objects=()), WH, has_depth=True))
    assert "no geometry" in fault.text
    (fault,) = faults(check_model_for_camera(card, (10 * card.input_wh[0], 10), has_depth=True))
    assert "shrunk 10.0 times" in fault.text
