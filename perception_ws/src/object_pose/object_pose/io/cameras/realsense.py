"""An Intel RealSense camera without ROS, or an SDK recording of one: colour frames with depth registered to them."""

from __future__ import annotations

import ctypes
import importlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError, DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.distortion import EQUIDISTANT, NONE, PLUMB_BOB
from object_pose.core.params import parameter
from object_pose.core.vision.depth_registration import register_depth
from object_pose.io.camera_forms import known_model
from object_pose.io.image_encodings import RawImage, rgb_from_raw
from object_pose.io.images import depth_in_metres

logger = logging.getLogger(__name__)

_SDK = "pyrealsense2"
# Of colour, the best first. ROS has the SDK's other names: rgb8, bgr8, rgba8, bgra8, yuyv, uyvy.
_COLOR_FORMATS = ("rgb8", "bgr8", "rgba8", "bgra8", "yuyv", "uyvy", "y8", "y16")
_ENCODINGS = {"y8": "mono8", "y16": "mono16"}
_QUEUED = 8  # frames of one stream that wait for the other
_POLL_S = 0.002
_RETRY_S = 1.0
_CLOCK_MEMORY = 300  # frames over which the least delay of a camera's own clock is sought
_MS, _NS_PER_MS = 1e-3, 1_000_000


@dataclass(frozen=True)
class RealSenseConfig:
    """Which camera, in which mode; '' leaves what the camera does by itself."""

    serial: str = parameter("", "serial number of the camera; '' takes the first", read_only=True)
    width: int = parameter(640, "width of the colour image in pixels", minimum=1, maximum=8192, read_only=True)
    height: int = parameter(480, "height of the colour image in pixels", minimum=1, maximum=8192, read_only=True)
    depth_width: int = parameter(0, "width of the depth image; 0: as colour", minimum=0, maximum=8192, read_only=True)
    depth_height: int = parameter(0, "height of the depth image; 0: as colour", minimum=0, maximum=8192, read_only=True)
    rate_hz: int = parameter(30, "frames a second of both streams", minimum=1, maximum=300, read_only=True)
    emitter: str = parameter(
        "", "projector of the depth camera; '' leaves it", choices=("", "on", "off"), read_only=True
    )
    exposure_us: float = parameter(
        0.0, "exposure of colour in microseconds; 0 is automatic", minimum=0.0, maximum=1e6, read_only=True
    )
    preset: str = parameter("", "visual preset of depth by its name, such as 'High Accuracy'", read_only=True)
    timeout_s: float = parameter(
        5.0, "a camera without a frame for so long is started again, in seconds", minimum=0.05, maximum=600.0
    )


class RealSenseCamera:
    """Gives the newest frame; a camera that is pulled out is opened again once it is back.

    ``find_devices`` returns the SDK's devices at hand, by default those on USB. Raises ``DataError`` where the SDK is
    not installed, no such camera is there, or it has no such mode.
    """

    def __init__(
        self, config: RealSenseConfig | None = None, find_devices: Callable[[], Sequence[Any]] | None = None
    ) -> None:
        self._sdk = import_sdk()
        self._config = config or RealSenseConfig()
        self._context = None if find_devices else self._sdk.context()
        self._find_devices = find_devices or (lambda: list(self._context.query_devices()))  # type: ignore[union-attr]
        self._streams: _Streams | None = None
        self._next_try = 0.0
        self._open()

    def read(self, timeout_s: float | None = None) -> Frame:
        """Return the newest frame that has not been returned yet, by default within the config's time.

        Raises ``DataError`` where none comes in time: the camera is gone, or silent. Calling again is worth it.
        """
        timeout_s = self._config.timeout_s if timeout_s is None else timeout_s
        if self._streams is None:
            self._reopen()
        assert self._streams is not None
        frame = self._streams.newest(timeout_s)
        if frame is None:
            self.close()
            self._check_presence()
            problem = f"the RealSense camera {self._name} sent no frame for {timeout_s:g} s"
            raise DataError(problem, "it is started again; is its USB cable good?")
        return frame

    def close(self) -> None:
        """Stop the camera."""
        if self._streams is not None:
            self._name = self._streams.serial
            self._streams.close()
            self._streams = None

    def _reopen(self) -> None:
        """Open the camera again, not more often than once a second."""
        time.sleep(max(0.0, self._next_try - time.monotonic()))
        self._next_try = time.monotonic() + _RETRY_S
        self._check_presence()
        self._open()
        logger.warning("the RealSense camera %s runs again", self._name)

    def _check_presence(self) -> None:
        """Raise ``DataError`` where the camera that ran is not plugged in."""
        if all(_serial(self._sdk, device) != self._name for device in self._find_devices()):
            raise DataError(f"the RealSense camera {self._name} is gone", "plug it in again: it is taken up by itself")

    def _open(self) -> None:
        device = _choose_device(self._sdk, list(self._find_devices()), self._config.serial)
        self._name = _serial(self._sdk, device)
        self._streams = _Streams(self._sdk, device, self._config)


class _Streams:
    """The running colour and depth streams of one device, paired by their stamps."""

    def __init__(self, sdk: Any, device: Any, config: RealSenseConfig | None) -> None:
        self._sdk = sdk
        self.serial = _serial(sdk, device)
        self._queues = {kind: sdk.frame_queue(_QUEUED) for kind in (sdk.stream.color, sdk.stream.depth)}
        self._waiting: dict[Any, deque[Any]] = {kind: deque(maxlen=_QUEUED) for kind in self._queues}
        self._clock = _Clock() if config is not None else None
        profiles = _choose_profiles(sdk, device, config)
        if config is not None:
            _set_options(sdk, device, config)
            _report_usb(sdk, device)
        color, depth = (profiles[kind][1] for kind in self._queues)
        self.camera, self._depth_camera = _camera(color), _camera(depth)
        self._T_color_depth = _transform(depth.get_extrinsics_to(color))
        # Sensors of a camera run in step; a recording may hold each one's frames of another moment.
        self._tolerance_ms = (500.0 if config is not None else 1000.0) / max(color.fps(), 1)
        self._unit_m = float(device.first_depth_sensor().get_depth_scale())
        # Depth first: a recording plays on while the second sensor starts, and may hold little colour.
        owners = [profiles[kind][0] for kind in (sdk.stream.depth, sdk.stream.color)]
        self._sensors = list({id(sensor): sensor for sensor in owners}.values())
        try:
            for sensor in self._sensors:
                sensor.open([profile for owner, profile in profiles.values() if owner is sensor])
            for sensor in self._sensors:
                sensor.start(self._receive)
        except RuntimeError as error:
            raise DataError(
                f"the RealSense camera {self.serial} does not start: {error}", "does another program use it?"
            ) from error

    def newest(self, timeout_s: float) -> Frame | None:
        """Return the newest pair as a frame; None where none is complete in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            pair = self._pair()
            if pair is not None:
                return self._frame(*pair)
            if time.monotonic() > deadline:
                return None
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Stop the sensors; one that is gone has stopped."""
        for sensor in self._sensors:
            for end in (sensor.stop, sensor.close):
                try:
                    end()
                except RuntimeError:
                    logger.debug("a sensor of %s had ended", self.serial)

    def _receive(self, frame: Any) -> None:
        """Keep a frame of one of the streams; runs in the SDK's thread."""
        kind = frame.profile.stream_type()
        if kind in self._queues:
            self._queues[kind].enqueue(frame)

    def _pair(self) -> tuple[Any, Any] | None:
        """Return the newest colour and depth frame that were taken together, and drop those before."""
        for kind, frames in self._queues.items():
            while frame := frames.poll_for_frame():
                self._waiting[kind].append(frame)
        colors, depths = (self._waiting[kind] for kind in self._queues)
        for color in reversed(colors):
            near = min(depths, key=lambda item: abs(item.timestamp - color.timestamp), default=None)
            if near is not None and abs(near.timestamp - color.timestamp) <= self._tolerance_ms:
                stamp = color.timestamp
                for waiting in (colors, depths):
                    while waiting and waiting[0].timestamp <= stamp + (
                        self._tolerance_ms if waiting is depths else 0.0
                    ):
                        waiting.popleft()
                return color.as_video_frame(), near.as_depth_frame()
        return None

    def _frame(self, color: Any, depth: Any) -> Frame:
        """Copy a pair out of the SDK's buffers, which it uses again."""
        name = _name(color.profile.format())
        pixels = np.ascontiguousarray(color.get_data())
        step = pixels.nbytes // self.camera.height
        rgb = rgb_from_raw(RawImage(_ENCODINGS.get(name, name), *self.camera.wh, step, False, pixels.tobytes()))
        depth_m = depth_in_metres(np.asanyarray(depth.get_data()), self._unit_m)
        if self._depth_camera != self.camera or not np.allclose(self._T_color_depth, np.eye(4)):
            depth_m = register_depth(depth_m, self._depth_camera, self.camera, self._T_color_depth)
        return Frame(rgb, self.camera, depth_m, self._stamp_ns(color))

    def _stamp_ns(self, color: Any) -> int:
        """Return the time since 1970 at which colour was taken; of a recording, what it says."""
        if self._clock and _name(color.frame_timestamp_domain) == "hardware_clock":
            return self._clock.system_ns(color.timestamp)
        return round(color.timestamp * _NS_PER_MS)


class _Clock:
    """A camera's own clock against the system's: the least delay that was seen is that of the way."""

    def __init__(self) -> None:
        self._offsets_ms: deque[float] = deque(maxlen=_CLOCK_MEMORY)

    def system_ns(self, camera_ms: float) -> int:
        """Return the system's time of a stamp of the camera that has just arrived."""
        self._offsets_ms.append(time.time() / _MS - camera_ms)
        return round((camera_ms + min(self._offsets_ms)) * _NS_PER_MS)


RECORDING_TOPICS = "/device_0/"  # which the topics of an SDK's recording begin with, itself a bag of ROS 1


def recorded_realsense_frames(recording: str | Path) -> Iterator[Frame]:
    """Yield the frames of an SDK recording, with the camera's own stamps; raises ``DataError`` where there are none."""
    sdk = import_sdk()
    if not Path(recording).is_file():
        raise DataError(f"{recording} does not exist")
    try:
        device = sdk.context().load_device(str(recording)).as_playback()
    except RuntimeError as error:
        raise DataError(f"{recording} is no recording of the RealSense SDK: {error}") from error
    device.set_real_time(False)
    streams = _Streams(sdk, device, None)
    try:
        count = 0
        while (frame := streams.newest(1.0)) is not None:
            yield frame
            count += 1
    finally:
        streams.close()
    if not count:
        raise DataError(f"{recording} has no colour frame with its depth")


def import_sdk() -> Any:
    """Return pyrealsense2; raises ``DataError`` where it cannot be loaded.

    Its wheel wants the system's libusb, which bare machines lack: the one of libusb-package then takes its place.
    """
    try:
        try:
            return importlib.import_module(_SDK)
        except ImportError as error:
            if "libusb" not in str(error):
                raise
            library = importlib.import_module("libusb_package").get_library_path()
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
            return importlib.import_module(_SDK)
    except (ImportError, OSError) as error:
        raise DataError(
            f"the RealSense SDK cannot be imported: {error}", "pip install 'object-pose[realsense]'"
        ) from error


def _choose_device(sdk: Any, devices: Sequence[Any], serial: str) -> Any:
    if not devices:
        raise DataError(
            "no RealSense camera is there", "plug it into USB 3; object-pose doctor checks cable and rights"
        )
    chosen = [device for device in devices if not serial or _serial(sdk, device) == serial]
    if not chosen:
        found = ", ".join(_serial(sdk, device) for device in devices)
        raise DataError(f"there is no RealSense camera with the serial number {serial}", f"there are {found}")
    return chosen[0]


def _choose_profiles(sdk: Any, device: Any, config: RealSenseConfig | None) -> dict[Any, tuple[Any, Any]]:
    """Return sensor and profile of colour and depth; without a config those that a recording holds."""
    wanted: dict[Any, tuple[tuple[int, int, int] | None, tuple[str, ...]]] = {
        sdk.stream.color: (None, _COLOR_FORMATS),
        sdk.stream.depth: (None, ("z16",)),
    }
    if config is not None:
        depth_wh = config.depth_width or config.width, config.depth_height or config.height
        wanted[sdk.stream.color] = (config.width, config.height, config.rate_hz), _COLOR_FORMATS
        wanted[sdk.stream.depth] = (*depth_wh, config.rate_hz), ("z16",)
    chosen = {}
    for kind, (mode, formats) in wanted.items():
        offered = [
            (sensor, profile.as_video_stream_profile())
            for sensor in device.query_sensors()
            for profile in sensor.get_stream_profiles()
            if profile.stream_type() == kind and _name(profile.format()) in formats
        ]
        fitting = [item for item in offered if mode is None or _mode(item[1]) == mode]
        if not fitting:
            modes = ", ".join(sorted({"{}x{} at {} Hz".format(*_mode(profile)) for _, profile in offered})) or "none"
            asked = "{}x{} at {} Hz".format(*mode) if mode else "any mode"
            problem = f"the RealSense camera {_serial(sdk, device)} has no {_name(kind)} stream of {asked}"
            raise DataError(problem, f"it has {modes}")
        chosen[kind] = min(fitting, key=lambda item: formats.index(_name(item[1].format())))
    return chosen


def _mode(profile: Any) -> tuple[int, int, int]:
    return profile.width(), profile.height(), profile.fps()


def _set_options(sdk: Any, device: Any, config: RealSenseConfig) -> None:
    """Set what the user asks for; an option that the camera lacks is named."""
    depth = device.first_depth_sensor()
    if config.preset:
        _set_preset(sdk, depth, config.preset)
    if config.emitter:
        _set_option(depth, sdk.option.emitter_enabled, float(config.emitter == "on"), "emitter")
    if config.exposure_us:
        colors = [item for item in device.query_sensors() if item.is_color_sensor()] or [depth]
        _set_option(colors[0], sdk.option.enable_auto_exposure, 0.0, "exposure_us")
        # Colour sensors count in units of 100 microseconds, depth sensors in microseconds.
        value = config.exposure_us if colors[0] is depth else config.exposure_us / 100.0
        _set_option(colors[0], sdk.option.exposure, value, "exposure_us")


def _set_option(sensor: Any, option: Any, value: float, name: str) -> None:
    if not sensor.supports(option):
        raise DataError(f"the RealSense camera has no option for '{name}'", "leave it out for this model")
    try:
        sensor.set_option(option, value)
    except RuntimeError as error:
        bounds = sensor.get_option_range(option)
        raise DataError(
            f"the RealSense camera refuses {name} = {value:g}: {error}", f"it takes {bounds.min:g} to {bounds.max:g}"
        ) from error


def _set_preset(sdk: Any, depth: Any, preset: str) -> None:
    option = sdk.option.visual_preset
    if not depth.supports(option):
        raise DataError("the RealSense camera has no presets", "leave 'preset' out for this model")
    bounds = depth.get_option_range(option)
    names = {depth.get_option_value_description(option, value): value for value in range(int(bounds.max) + 1)}
    if preset not in names:
        raise DataError(f"the RealSense camera has no preset '{preset}'", f"it has {', '.join(filter(None, names))}")
    depth.set_option(option, names[preset])


def _report_usb(sdk: Any, device: Any) -> None:
    """Say that a camera runs on USB 2, where it loses frames and modes."""
    field = sdk.camera_info.usb_type_descriptor
    usb = device.get_info(field) if device.supports(field) else ""
    if usb.startswith(("1", "2")):
        logger.warning("the RealSense camera %s runs on USB %s: use a USB 3 port and cable", _serial(sdk, device), usb)


def _serial(sdk: Any, device: Any) -> str:
    field = sdk.camera_info.serial_number
    return str(device.get_info(field)) if device.supports(field) else "without serial number"


def _transform(extrinsics: Any) -> Array:
    """Return the (4, 4) transform of the SDK's extrinsics, whose rotation is written by columns."""
    transform = np.eye(4)
    transform[:3, :3] = np.reshape(extrinsics.rotation, (3, 3)).T
    transform[:3, 3] = extrinsics.translation
    return transform


def _camera(profile: Any) -> Camera:
    """Convert the SDK's intrinsics; as in OpenCV, pixel centres are integers.

    Coefficients are (k1, k2, p1, p2, k3), of a Kannala-Brandt lens (k1, k2, k3, k4). The SDK names those of a D455
    inverse, which realsense-ros publishes as plumb_bob, and so they are taken here. Raises ``CalibrationError`` for
    another model that distorts.
    """
    intrinsics = profile.get_intrinsics()
    coefficients = tuple(float(value) for value in intrinsics.coeffs)
    model = known_model(_name(intrinsics.model), coefficients)
    if model == EQUIDISTANT:
        coefficients = coefficients[:4]
    elif not any(coefficients):
        coefficients, model = (), NONE
    elif model != PLUMB_BOB:
        raise CalibrationError(f"the RealSense camera has the distortion model '{model}', which is not known")
    return Camera(
        intrinsics.width,
        intrinsics.height,
        intrinsics.fx,
        intrinsics.fy,
        intrinsics.ppx,
        intrinsics.ppy,
        coefficients,
        model,
    )


def _name(value: Any) -> str:
    """Return the bare name of one of the SDK's constants."""
    return str(value).rpartition(".")[2]
