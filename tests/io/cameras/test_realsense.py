"""A RealSense through the SDK itself: what goes in comes out registered, stamped and in metres; faults are named."""

import importlib
import sys
import time

import numpy as np
import pytest

from object_pose.core.errors import DataError
from object_pose.io.cameras.realsense import (
    RealSenseCamera,
    RealSenseConfig,
    import_sdk,
    recorded_realsense_frames,
)
from object_pose.io.cameras.recorded import open_frames
from object_pose.runtime.resources import find_data
from software_realsense import SoftwareRealSense, require_sdk

MODE = {"width": 128, "height": 96, "depth_width": 64, "depth_height": 48}


@pytest.fixture
def sdk():
    return require_sdk()


@pytest.fixture
def make_device(sdk):
    made = []

    def make(*arguments, **named):
        made.append(SoftwareRealSense(sdk, *arguments, **named))
        return made[-1]

    yield make
    for device in made:
        device.stop()


@pytest.fixture
def open_camera():
    opened = []

    def run(devices, **config):
        opened.append(RealSenseCamera(RealSenseConfig(**MODE | config), lambda: [item.device for item in devices]))
        return opened[-1]

    yield run
    for camera in opened:
        camera.close()


def test_frames_come_out_registered_in_metres_and_with_their_stamps(make_device, open_camera):
    device = make_device()
    camera = open_camera([device])
    for distance_m in (0.5, 1.0):
        device.send(distance_m)
        frame = camera.read()
        assert frame.rgb.shape == (96, 128, 3) and np.all(frame.rgb == len(device.sent_ms))
        assert frame.camera.wh == (128, 96) and frame.camera.fx == 120.0 and frame.camera.cx == 63.5
        assert frame.stamp_ns == pytest.approx(device.sent_ms[-1] * 1e6, abs=1e6)
        measured = frame.depth_m[frame.depth_m > 0]
        np.testing.assert_allclose(measured, distance_m, atol=1e-6)
        # The depth camera sees 64 / 50 of its distance, 15 mm aside: so wide is what colour gets of it.
        half_m = 0.5 * 64 / 50.0 * distance_m
        left, right = (63.5 + 120.0 * (side * half_m + 0.015) / distance_m for side in (-1, 1))
        columns = np.flatnonzero((frame.depth_m > 0).any(axis=0))
        assert columns[0] == pytest.approx(max(left, 0.0), abs=1.5)
        assert columns[-1] == pytest.approx(min(right, 127.0), abs=1.5)


def test_the_newest_frame_is_given(make_device, open_camera):
    device = make_device()
    camera = open_camera([device])
    for _ in range(5):
        device.send()
    frames = [camera.read()]
    while frames[-1].rgb[0, 0, 0] < 5:
        frames.append(camera.read())
    assert frames[-1].stamp_ns == pytest.approx(device.sent_ms[-1] * 1e6, abs=1e6)


def test_stamps_of_the_cameras_own_clock_become_the_systems(make_device, open_camera):
    device = make_device(domain="hardware_clock")
    camera = open_camera([device])
    for index in range(3):
        before = time.time_ns()
        device.send(timestamp_ms=5000.0 + 33.0 * index)
        frame = camera.read()
        assert before - 40_000_000 < frame.stamp_ns < time.time_ns()


def test_a_camera_that_was_pulled_out_is_taken_up_again(make_device, open_camera):
    first, plugged = make_device(), []
    plugged.append(first)
    camera = open_camera(plugged)
    first.send()
    assert camera.read().depth_m is not None
    plugged.clear()
    for _ in range(2):
        with pytest.raises(DataError, match="camera 0123 is gone"):
            camera.read(timeout_s=0.1)
    back = make_device()
    plugged.append(back)
    back.start()
    assert camera.read().depth_m is not None


def test_a_camera_that_falls_silent_is_started_again(make_device, open_camera):
    device = make_device()
    camera = open_camera([device])
    with pytest.raises(DataError, match=r"sent no frame for 0\.1 s"):
        camera.read(timeout_s=0.1)
    device.start()
    assert camera.read().depth_m is not None


def test_one_of_several_cameras_by_its_serial_number(make_device, open_camera):
    devices = [make_device("1"), make_device("2")]
    camera = open_camera(devices, serial="2")
    devices[0].send()
    devices[1].send(0.8)
    assert camera.read().depth_m.max() == pytest.approx(0.8)
    with pytest.raises(DataError, match=r"serial number 3 .*there are 1, 2"):
        open_camera(devices, serial="3")


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"width": 640, "height": 480}, r"no color stream of 640x480 at 30 Hz \(it has 128x96 at 30 Hz\)"),
        ({"rate_hz": 90}, "no color stream of 128x96 at 90 Hz"),
        ({"depth_width": 0, "depth_height": 0}, "no depth stream of 128x96"),
        ({"emitter": "on"}, "no option for 'emitter'"),
        ({"exposure_us": 5000.0}, "no option for 'exposure_us'"),
        ({"preset": "High Accuracy"}, "has no presets"),
    ],
)
def test_what_the_camera_does_not_have_is_named(make_device, open_camera, config, text):
    with pytest.raises(DataError, match=text):
        open_camera([make_device()], **config)


@pytest.mark.parametrize("name", ["brown_conrady", "modified_brown_conrady", "inverse_brown_conrady"])
def test_every_polynomial_lens_is_plumb_bob_and_of_the_inverse_one_it_is_said(make_device, open_camera, caplog, name):
    coefficients = (-0.0565, 0.0682, 0.0004, 0.0007, -0.0218)  # as a D455 reports them
    device = make_device(lens=(name, coefficients))
    camera = open_camera([device])
    device.send()
    found = camera.read().camera
    assert found.distortion_model == "plumb_bob" and found.distortion == pytest.approx(coefficients, abs=1e-7)
    assert ("is read as plumb_bob" in caplog.text) == (name == "inverse_brown_conrady")


def test_usb_2_is_said(make_device, open_camera, caplog):
    open_camera([make_device(usb="2.1")])
    assert "runs on USB 2.1" in caplog.text


def test_no_camera_at_all(sdk):
    with pytest.raises(DataError, match="no RealSense camera is there"):
        RealSenseCamera(find_devices=list)


def test_the_sdk_is_loaded_where_the_system_has_no_libusb(sdk, monkeypatch):
    asked, load = [], importlib.import_module

    def load_without_libusb(name):
        asked.append(name)
        if asked == ["pyrealsense2"]:
            raise ImportError("libusb-1.0.so.0: cannot open shared object file")
        return load(name)

    monkeypatch.setattr(importlib, "import_module", load_without_libusb)
    assert import_sdk() is sdk
    assert asked == ["pyrealsense2", "libusb_package", "pyrealsense2"]
    assert sys.modules["pyrealsense2"] is sdk
    assert sdk.context is not None


def test_without_the_sdk_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(DataError, match=r"pip install 'object-pose\[realsense\]'"):
        RealSenseCamera()


def test_a_recording_of_the_sdk(sdk):
    try:
        recording = find_data("realsense") / "single_depth_color_640x480.bag"
    except DataError as missing:
        pytest.skip(str(missing))
    (named,) = open_frames(recording)
    frame = named.frame
    assert named.name == "000000"
    assert frame.rgb.shape == (480, 640, 3) and frame.camera.fx == pytest.approx(613.2, abs=0.1)
    # The two cameras see almost the same, at room distances.
    assert np.mean(frame.depth_m > 0) > 0.9
    assert 0.3 < np.median(frame.depth_m[frame.depth_m > 0]) < 3.0


@pytest.mark.parametrize("content", [None, b"", b"#ROSBAG V2.0\nnothing"])
def test_a_file_that_is_no_recording(sdk, tmp_path, content):
    path = tmp_path / "broken.bag"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.bag"):
        list(recorded_realsense_frames(path))
