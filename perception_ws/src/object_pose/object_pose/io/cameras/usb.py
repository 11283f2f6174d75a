"""A USB or other Video4Linux camera: colour alone, newest frame first."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import cv2

from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry.camera import Camera
from object_pose.core.params import parameter
from object_pose.core.vision.image import to_rgb
from object_pose.io.cameras.recorded import make_frame

_RETRY_S = 1.0


@dataclass(frozen=True)
class UsbCameraConfig:
    """The mode of the camera; 0 leaves its own value."""

    width: int = parameter(0, "width of the image in pixels", minimum=0, maximum=16384, read_only=True)
    height: int = parameter(0, "height of the image in pixels", minimum=0, maximum=16384, read_only=True)
    rate_hz: float = parameter(0.0, "frames a second", minimum=0.0, maximum=1000.0, read_only=True)
    pixel_format: str = parameter("", "four letters such as MJPG or YUYV", read_only=True)


class UsbCamera:
    """Gives the frames of ``device``, such as /dev/video0; one that is pulled out is opened again once it is back.

    Images without a ``camera`` get a nominal one, whose poses mean nothing. Raises ``DataError`` where the device is
    not there, may not be opened, or is no camera.
    """

    def __init__(self, device: str | Path, config: UsbCameraConfig | None = None, camera: Camera | None = None) -> None:
        self._device, self._config, self._camera = Path(device), config or UsbCameraConfig(), camera
        self._capture: cv2.VideoCapture | None = None
        self._next_try = 0.0
        self._open()

    def read(self) -> Frame:
        """Wait for the next frame; raises ``DataError`` where the camera is gone. Calling again is worth it."""
        if self._capture is None:
            time.sleep(max(0.0, self._next_try - time.monotonic()))
            self._next_try = time.monotonic() + _RETRY_S
            self._open()
        assert self._capture is not None
        is_read, bgr = self._capture.read()
        stamp_ns = time.time_ns()
        if not is_read:
            self.close()
            raise DataError(f"{self._device} gives no frame", "is it unplugged or in use? it is opened again by itself")
        return make_frame(str(self._device), to_rgb(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)), None, self._camera, stamp_ns)

    def close(self) -> None:
        """Stop the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _open(self) -> None:
        if not self._device.exists():
            raise DataError(
                f"{self._device} does not exist", "ls /dev/video* shows the cameras; object-pose doctor, too"
            )
        capture = cv2.VideoCapture(str(self._device))
        config = self._config
        if len(config.pixel_format) == 4:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*config.pixel_format))
        elif config.pixel_format:
            raise DataError(f"'{config.pixel_format}' is no pixel format", "give four letters, such as MJPG")
        asked = {
            cv2.CAP_PROP_FRAME_WIDTH: config.width,
            cv2.CAP_PROP_FRAME_HEIGHT: config.height,
            cv2.CAP_PROP_FPS: config.rate_hz,
        }
        for name, value in asked.items():
            if value:
                capture.set(name, value)
        if not capture.isOpened():
            raise DataError(f"{self._device} cannot be opened as a camera", "is it in use, and may this user open it?")
        got = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if config.width and config.height and got != (config.width, config.height):
            capture.release()
            raise DataError(
                f"{self._device} gives {got[0]}x{got[1]}, not {config.width}x{config.height}",
                "v4l2-ctl --list-formats-ext shows its modes",
            )
        self._capture = capture
