"""What a machine and its camera lack for the pipeline, each with its cure; ``ros.doctor`` adds live topics."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import metadata, util
from pathlib import Path

import numpy as np

from object_pose.core.arrays import DepthImage
from object_pose.core.errors import CalibrationError, ObjectPoseError
from object_pose.io.camera_info import CameraInfo
from object_pose.runtime.card import ModelCard
from object_pose.runtime.cpus import available_cores
from object_pose.runtime.engine import ENGINES, EngineConfig
from object_pose.runtime.engine_choice import default_cache, installed_engines, measure_engines
from object_pose.runtime.predictor import load_card
from object_pose.runtime.processes import SHARED_MEMORY, abandoned_segments, free_mebibytes
from object_pose.runtime.resources import shipped_models

_SUPPORTED = ((3, 10), (3, 14))
# What a verb needs beyond the base, and how it is had.
_OPTIONAL = {
    "rclpy": ("the nodes", "source a ROS 2 installation, or pip install 'object-pose[ros]'"),
    "object_pose_msgs": ("the nodes' messages", "build them: make setup, or colcon build"),
    "rosbags": ("recordings", "pip install 'object-pose[bags]'"),
    "trimesh": ("meshes and rendering", "pip install 'object-pose[simulation]'"),
    "torch": ("training", "pip install 'object-pose[train]'"),
}
# Distributions of which one replaces the other's files.
_EXCLUSIVE = (("onnxruntime", "onnxruntime-gpu"), ("opencv-python", "opencv-python-headless"))
_SHARED_MEMORY_MIB = 4 * 34  # Fast DDS's segments of four processes with our profile
_ABANDONED_MIB = 256
_MIDDLEWARES = ("rmw_fastrtps_cpp", "rmw_cyclonedds_cpp", "rmw_zenoh_cpp", "rmw_fastrtps_dynamic_cpp")
_LAST_DOMAIN = 101  # higher ones meet the ports that Linux hands out
_INTEL, _USB3_MBIT = "8086", 5000
_PLAUSIBLE_FOV_DEG = (15.0, 130.0)
_PLAUSIBLE_DEPTH_M = (0.05, 15.0)
_LEAST_DEPTH_SHARE = 0.2


class Level(str, Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its subject, what was found, and where it is not well what to do."""

    subject: str
    level: Level
    text: str
    cure: str = ""


def ok(subject: str, text: str) -> Finding:
    """Return what is well."""
    return Finding(subject, Level.OK, text)


def warning(subject: str, text: str, cure: str) -> Finding:
    """Return what works, but not as well as it could."""
    return Finding(subject, Level.WARNING, text, cure)


def error(subject: str, text: str, cure: str) -> Finding:
    """Return what will not work."""
    return Finding(subject, Level.ERROR, text, cure)


def check_machine() -> Iterator[Finding]:
    """Yield the findings about this machine: Python, packages, engines, memory, settings, models and cameras."""
    yield check_python(sys.version_info[:2])
    yield from check_packages()
    yield from check_engines()
    yield check_shared_memory(SHARED_MEMORY)
    yield from check_environment(os.environ)
    yield from check_models(shipped_models())
    yield from check_video_devices(Path("/dev"))
    yield from check_usb_cameras(Path("/sys/bus/usb/devices"))


def check_python(version: tuple[int, int]) -> Finding:
    """Return whether this Python is one that we support."""
    text = f"Python {version[0]}.{version[1]}"
    if _SUPPORTED[0] <= version <= _SUPPORTED[1]:
        return ok("python", text)
    return error("python", f"{text} is not supported", "use Python 3.10 to 3.14")


def check_packages() -> Iterator[Finding]:
    """Yield which optional packages are there, and which overwrite each other."""
    for module, (purpose, cure) in _OPTIONAL.items():
        if util.find_spec(module) is None:
            yield warning("packages", f"{module} is not installed, which {purpose} need", cure)
        else:
            yield ok("packages", f"{module} for {purpose}")
    installed = {item.metadata["Name"].lower() for item in metadata.distributions() if item.metadata["Name"]}
    for names in _EXCLUSIVE:
        if installed.issuperset(names):
            both = " and ".join(names)
            yield error(
                "packages", f"{both} overwrite each other's files", f"pip uninstall {' '.join(names)}, install one"
            )


def check_engines() -> Iterator[Finding]:
    """Yield which inference engines are installed, and the processor that they have."""
    engines, cores = installed_engines(), available_cores()
    if engines:
        yield ok("engines", f"{', '.join(engines)}; {cores} cores, load {os.getloadavg()[0]:.1f}")
    else:
        yield error("engines", f"none of {', '.join(ENGINES)} is installed", "pip install 'object-pose[cpu]'")
    if cores < 2:
        yield warning("engines", "one core for camera, network and tracking", "give the container or machine two cores")


def time_engines(models: Iterable[Path]) -> Iterator[Finding]:
    """Yield how long one image takes with each engine, for every model."""
    for path in models:
        timings = measure_engines(path, EngineConfig())
        best = min((item for item in timings if item.agrees), key=lambda item: item.inference_ms)
        times = ", ".join(f"{item.engine} {item.inference_ms:.1f} ms" for item in timings)
        yield ok("bench", f"{path.name}: {times}; nodes take {best.engine}")
        for item in timings:
            if not item.agrees:
                text = f"{path.name}: {item.engine} differs by {item.difference:.0%} from {timings[0].engine}"
                yield warning("bench", text, "it is not taken; is there a newer version?")


def check_shared_memory(folder: Path) -> Finding:
    """Return whether images fit into the shared memory between processes."""
    if not folder.is_dir():
        return warning("shared memory", f"{folder} is not there", "run the nodes in one process")
    free_mib, (count, left_mib) = free_mebibytes(folder), abandoned_segments(folder)
    if left_mib >= _ABANDONED_MIB:
        text = f"{folder} has {free_mib:.0f} MiB free; {count} segments of ended programs hold {left_mib:.0f} MiB"
        return warning("shared memory", text, f"while no ROS 2 program runs: rm {folder}/*fastdds_*")
    if free_mib >= _SHARED_MEMORY_MIB:
        return ok("shared memory", f"{folder} has {free_mib:.0f} MiB free")
    text = f"{folder} has {free_mib:.0f} MiB free, separate processes want {_SHARED_MEMORY_MIB}"
    return warning("shared memory", text, "docker: --shm-size=512m or --ipc=host; or run the nodes in one process")


def check_environment(variables: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what the environment says to ROS 2 that it cannot mean."""
    if "HOME" not in variables and "ROS_LOG_DIR" not in variables:
        yield error(
            "environment", "neither HOME nor ROS_LOG_DIR is set, and ROS 2 writes its logs there", "export HOME"
        )
    middleware = variables.get("RMW_IMPLEMENTATION", "")
    if middleware and middleware not in _MIDDLEWARES:
        yield warning(
            "environment", f"RMW_IMPLEMENTATION={middleware} is not known here", "unset it, or check its name"
        )
    domain = variables.get("ROS_DOMAIN_ID", "0")
    if not domain.isdecimal() or int(domain) > 232:
        yield error("environment", f"ROS_DOMAIN_ID={domain} is no domain", f"export a number from 0 to {_LAST_DOMAIN}")
    elif int(domain) > _LAST_DOMAIN:
        text = f"ROS_DOMAIN_ID={domain} uses ports that Linux hands to other programs"
        yield warning("environment", text, f"use a domain from 0 to {_LAST_DOMAIN}")
    if variables.get("ROS_LOCALHOST_ONLY", "0") == "1" or variables.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "OFF":
        yield warning(
            "environment",
            "nodes of other machines are not found",
            "unset ROS_LOCALHOST_ONLY, ROS_AUTOMATIC_DISCOVERY_RANGE",
        )
    mixed = [item for item in variables.get("PYTHONPATH", "").split(os.pathsep) if item.startswith("/opt/ros/")]
    if mixed and sys.prefix != sys.base_prefix and util.find_spec("rclpy") is not None:
        spec = util.find_spec("rclpy")
        if spec and spec.origin and not spec.origin.startswith("/opt/ros/"):
            text = f"PYTHONPATH names {mixed[0]}, but rclpy is a wheel of this environment"
            yield error("environment", text, "use one of them: a shell without ROS's setup.bash, or ROS's own Python")
    folder = default_cache().parent
    if not _is_writable(folder):
        text = f"{folder} cannot be written, so engines are measured at every start"
        yield warning("environment", text, "set OBJECT_POSE_CACHE to a folder that can")


def check_models(paths: Iterable[Path]) -> Iterator[Finding]:
    """Yield whether each model file can be opened."""
    count = 0
    for path in paths:
        try:
            card = load_card(path)
        except ObjectPoseError as problem:
            yield error("models", str(problem), "object-pose models lists what is installed")
            continue
        count += 1
        yield ok("models", f"{path.name}: {card.task}, {len(card.labels)} classes")
    if not count:
        yield warning("models", "no model is at hand", "train and export one, or set OBJECT_POSE_SHARE")


def check_video_devices(devices: Path) -> Iterator[Finding]:
    """Yield the cameras of Video4Linux that this user may not open."""
    for device in sorted(devices.glob("video*")):
        if not os.access(device, os.R_OK | os.W_OK):
            yield error("cameras", f"{device} may not be opened", "sudo usermod -aG video $USER, then log in again")


def check_usb_cameras(devices: Path) -> Iterator[Finding]:
    """Yield the RealSense cameras on USB, with a slow cable or port, or without permission."""
    for folder in sorted(devices.glob("*")) if devices.is_dir() else ():
        product = _line(folder / "product")
        if _line(folder / "idVendor") != _INTEL or "realsense" not in product.lower():
            continue
        speed = _line(folder / "speed")
        if speed.isdecimal() and int(speed) < _USB3_MBIT:
            text = f"{product} runs at {speed} Mbit/s, which is USB 2"
            yield warning("cameras", text, "use a USB 3 port and cable, or fewer and smaller streams")
        else:
            yield ok("cameras", f"{product} at {speed} Mbit/s")
        bus, number = _line(folder / "busnum"), _line(folder / "devnum")
        node = Path(f"/dev/bus/usb/{bus:0>3}/{number:0>3}")
        if node.exists() and not os.access(node, os.R_OK | os.W_OK):
            yield error("cameras", f"{product} may not be opened", "install librealsense's udev rules, then replug it")


def check_camera(info: CameraInfo, topic: str, image_wh: tuple[int, int] | None, rectified: bool) -> Iterator[Finding]:
    """Yield what is not plausible about a camera_info, read for images of ``image_wh`` on ``topic``."""
    if problem := "" if rectified else info.rectification_problem(topic):
        yield warning("camera_info", problem, "read the topic of the raw image, or set 'rectified'")
    try:
        camera = info.camera(rectified)
    except CalibrationError as problem_found:
        yield error("camera_info", problem_found.message, problem_found.hint or "calibrate: object-pose calibrate")
        return
    width, height = camera.wh
    if image_wh and image_wh != camera.wh:
        text = f"it is for {width}x{height}, the image has {image_wh[0]}x{image_wh[1]}"
        yield error("camera_info", text, "publish the intrinsics of this resolution")
    fov_deg = float(np.degrees(2.0 * np.arctan2(0.5 * width, camera.fx)))
    described = f"{width}x{height}, {fov_deg:.0f} degrees wide, {info.distortion_model or 'no distortion'}"
    if not _PLAUSIBLE_FOV_DEG[0] <= fov_deg <= _PLAUSIBLE_FOV_DEG[1]:
        yield error("camera_info", described, "is K of another resolution, in other units, or a placeholder?")
    elif abs(camera.fx / camera.fy - 1.0) > 0.1:
        text = f"fx {camera.fx:.0f} and fy {camera.fy:.0f} differ by more than a tenth"
        yield warning("camera_info", text, "calibrate: pixels of cameras are square")
    elif abs(camera.cx / width - 0.5) > 0.15 or abs(camera.cy / height - 0.5) > 0.15:
        text = f"the principal point ({camera.cx:.0f}, {camera.cy:.0f}) lies far from the middle of {width}x{height}"
        yield warning("camera_info", text, "is K of another resolution or of the uncropped image?")
    else:
        yield ok("camera_info", described)


def check_depth(depth_m: DepthImage, image_wh: tuple[int, int] | None) -> Iterator[Finding]:
    """Yield what is not plausible about a depth image in metres."""
    height, width = depth_m.shape
    if image_wh and image_wh != (width, height):
        text = f"depth is {width}x{height}, colour {image_wh[0]}x{image_wh[1]}"
        yield error("depth", text, "publish depth aligned to colour (realsense-ros: align_depth.enable:=true)")
    valid = depth_m[depth_m > 0]
    if not valid.size:
        yield error(
            "depth", "it has no valid pixel", "is the object nearer than the sensor's minimum, the emitter off?"
        )
        return
    middle_m, share = float(np.median(valid)), valid.size / depth_m.size
    if not _PLAUSIBLE_DEPTH_M[0] <= middle_m <= _PLAUSIBLE_DEPTH_M[1]:
        text = f"its median is {middle_m:.3g} m"
        yield error("depth", text, "another unit? 16UC1 is millimetres (depth_scale says otherwise), 32FC1 metres")
    elif share < _LEAST_DEPTH_SHARE:
        text = f"only {share:.0%} of its pixels are valid"
        yield warning("depth", text, "dark or shining surfaces, too near, or the emitter is off")
    else:
        yield ok("depth", f"median {middle_m:.2f} m, {share:.0%} of the pixels valid")


def check_model_for_camera(card: ModelCard, image_wh: tuple[int, int], has_depth: bool) -> Iterator[Finding]:
    """Yield whether a pose model fits the images."""
    if not card.objects:
        text = f"task {card.task}: it detects, but carries no geometry for poses"
        yield error("model", text, "use a model of the task 'pose'")
        return
    if not has_depth:
        yield warning("model", "no depth comes, so distances are of the contours alone", "publish aligned depth")
    shrunk = max(image_wh[0] / card.input_wh[0], image_wh[1] / card.input_wh[1])
    if shrunk > 3.0:
        text = f"images of {image_wh[0]}x{image_wh[1]} are shrunk {shrunk:.1f} times for the network"
        yield warning("model", text, "small objects are lost: a nearer camera, or decoding.input_scale above 1")
    else:
        yield ok("model", f"{len(card.objects)} objects: {', '.join(card.labels)}")


def _is_writable(folder: Path) -> bool:
    """Return whether files can be made in a folder, or in its nearest parent that exists."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
