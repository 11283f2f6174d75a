"""The RealSense SDK's own software device: frames that a test injects come out of the SDK as a camera's do."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from object_pose.io.cameras.realsense import import_sdk

COLOR_WH, DEPTH_WH = (128, 96), (64, 48)
COLOR_FOCAL, DEPTH_FOCAL = 120.0, 50.0
BASELINE_M = 0.015
DEPTH_UNIT_M = 0.0005
RATE_HZ = 30
NO_LENS: tuple[str, Sequence[float]] = ("brown_conrady", (0.0,) * 5)


def require_sdk() -> Any:
    """Return the SDK; skip the test where it is not installed."""
    if find_spec("pyrealsense2") is None:
        pytest.skip("the extra 'realsense' is not installed")
    return import_sdk()


class SoftwareRealSense:
    """A device with a depth and a colour sensor beside it; ``start`` sends frames of a plane until ``stop``.

    ``lens`` is the SDK's name of the distortion model of colour, and its coefficients.
    """

    def __init__(
        self,
        sdk: Any,
        serial: str = "0123",
        domain: str = "system_time",
        usb: str = "3.2",
        lens: tuple[str, Sequence[float]] = NO_LENS,
    ) -> None:
        self._sdk, self._domain = sdk, getattr(sdk.timestamp_domain, domain)
        self.device = sdk.software_device()
        self.device.register_info(sdk.camera_info.serial_number, serial)
        self.device.register_info(sdk.camera_info.name, "software camera")
        self.device.register_info(sdk.camera_info.usb_type_descriptor, usb)
        self._depth = self.device.add_sensor("Stereo Module")
        self._color = self.device.add_sensor("RGB Camera")
        depth = self._stream(sdk.stream.depth, 1, DEPTH_WH, sdk.format.z16, 2, DEPTH_FOCAL, NO_LENS)
        color = self._stream(sdk.stream.color, 2, COLOR_WH, sdk.format.rgb8, 3, COLOR_FOCAL, lens)
        self._depth_profile = self._depth.add_video_stream(depth).as_video_stream_profile()
        self._color_profile = self._color.add_video_stream(color).as_video_stream_profile()
        self._depth.add_read_only_option(sdk.option.depth_units, DEPTH_UNIT_M)
        place = sdk.extrinsics()
        place.rotation, place.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [BASELINE_M, 0, 0]
        self._depth_profile.register_extrinsics_to(self._color_profile, place)
        self.device.create_matcher(sdk.matchers.dlr_c)
        self._stopped, self._thread = threading.Event(), None
        self.sent_ms: list[float] = []

    def send(self, distance_m: float = 0.6, timestamp_ms: float | None = None) -> None:
        """Send one pair: a plane at a distance, and colour that counts the frames."""
        stamp = time.time() * 1e3 if timestamp_ms is None else timestamp_ms
        number = len(self.sent_ms) + 1
        self.sent_ms.append(stamp)
        depth = np.full(DEPTH_WH[::-1], round(distance_m / DEPTH_UNIT_M), np.uint16)
        color = np.full((*COLOR_WH[::-1], 3), number % 256, np.uint8)
        self._depth.on_video_frame(self._frame(depth, self._depth_profile, stamp, number))
        self._color.on_video_frame(self._frame(color, self._color_profile, stamp, number))

    def start(self) -> None:
        """Send frames from another thread."""

        def run() -> None:
            while not self._stopped.wait(1.0 / RATE_HZ):
                self.send()

        self._stopped.clear()
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _stream(
        self,
        kind: Any,
        uid: int,
        wh: tuple[int, int],
        form: Any,
        bytes_a_pixel: int,
        focal: float,
        distortion: tuple[str, Sequence[float]],
    ) -> Any:
        stream = self._sdk.video_stream()
        stream.type, stream.index, stream.uid, stream.fmt, stream.bpp = kind, 0, uid, form, bytes_a_pixel
        stream.width, stream.height, stream.fps = *wh, RATE_HZ
        lens = self._sdk.intrinsics()
        lens.width, lens.height, lens.fx, lens.fy = *wh, focal, focal
        lens.ppx, lens.ppy = 0.5 * (wh[0] - 1), 0.5 * (wh[1] - 1)
        lens.model, lens.coeffs = getattr(self._sdk.distortion, distortion[0]), list(distortion[1])
        stream.intrinsics = lens
        return stream

    def _frame(self, pixels: np.ndarray, profile: Any, stamp_ms: float, number: int) -> Any:
        frame = self._sdk.software_video_frame()
        frame.pixels, frame.bpp, frame.stride = pixels, pixels.strides[1], pixels.strides[0]
        frame.timestamp, frame.domain, frame.frame_number, frame.profile = stamp_ms, self._domain, number, profile
        return frame
