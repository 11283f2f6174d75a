"""A Video4Linux camera: a device that is missing, or is none, is named; a video file stands for the device's frames."""

import cv2
import numpy as np
import pytest

from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera
from object_pose.io.cameras.usb import UsbCamera, UsbCameraConfig


@pytest.fixture
def device(tmp_path):
    """OpenCV opens files as it opens devices; this one has two frames."""
    path = tmp_path / "video0.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
    for level in (50, 200):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


def test_frames_come_with_the_camera_and_a_stamp_and_then_it_is_gone_and_back(device):
    lens = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
    camera = UsbCamera(device, UsbCameraConfig(width=64, height=48), lens)
    frames = [camera.read(), camera.read()]
    assert [round(frame.rgb.mean(), -1) for frame in frames] == [50, 200]
    assert all(frame.camera == lens and frame.depth_m is None for frame in frames)
    assert 0 < frames[0].stamp_ns < frames[1].stamp_ns
    with pytest.raises(DataError, match="gives no frame"):
        camera.read()
    assert round(camera.read().rgb.mean(), -1) == 50


@pytest.mark.parametrize(
    ("config", "text"),
    [({"width": 640, "height": 480}, "gives 64x48, not 640x480"), ({"pixel_format": "JPEG2000"}, "no pixel format")],
)
def test_modes_that_it_does_not_have(device, config, text):
    with pytest.raises(DataError, match=text):
        UsbCamera(device, UsbCameraConfig(**config))


def test_devices_that_are_none(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        UsbCamera(tmp_path / "video7")
    (tmp_path / "video8").write_text("no camera")
    with pytest.raises(DataError, match="cannot be opened as a camera"):
        UsbCamera(tmp_path / "video8")
