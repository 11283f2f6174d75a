"""Frames from files: an image, RGB-D files, folders of either, a video, a BOP scene, a bag, an SDK's recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from object_pose.core.arrays import DepthImage, Image
from object_pose.core.errors import CalibrationError, DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry.camera import Camera
from object_pose.core.vision.image import to_rgb
from object_pose.io.bag_frames import RecordingConfig, read_bag_frames
from object_pose.io.bag_storage.opening import is_bag
from object_pose.io.bags import describe_bag
from object_pose.io.bop import is_bop_scene, read_bop_scene
from object_pose.io.camera_info import nominal_camera
from object_pose.io.cameras.realsense import RECORDING_TOPICS, recorded_realsense_frames
from object_pose.io.images import DEPTH_SUFFIXES, IMAGE_SUFFIXES, list_images, read_depth, read_image

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
_IMAGE_PERIOD_NS = 33_333_333  # image files have no stamps; a tracker needs some, so they come at 30 Hz


@dataclass(frozen=True)
class NamedFrame:
    """A frame and what to call it in results: the stem of its file, or its number."""

    name: str
    frame: Frame


def open_frames(
    path: str | Path,
    depth: str | Path | None = None,
    camera: Camera | None = None,
    config: RecordingConfig | None = None,
    depth_scale: float | None = None,
) -> Iterator[NamedFrame]:
    """Yield the frames of whatever ``path`` is: image, folder, video, bag, BOP scene, or the camera file of one sensor.

    ``depth`` is the depth file of an image, or the folder of depth files of a folder; a folder with ``rgb`` and
    ``depth`` in it needs none. ``camera`` and ``depth_scale`` (millimetres a count, as a camera file says of 16-bit
    depth) belong to images and videos; without a camera a nominal one stands in, whose poses mean nothing. Raises
    ``DataError`` or ``CalibrationError`` naming the file.
    """
    source, config = Path(path), config or RecordingConfig()
    if not source.exists():
        raise DataError(f"{source} does not exist")
    if is_bag(source):
        return bag_frames(source, config)
    if is_bop_scene(source):
        return _bop_frames(source, config.depth_scale or None)
    if is_video(source):
        return video_frames(source, camera)
    units_m = config.depth_unit_m(depth_scale), config.float_depth_unit_m
    if source.is_dir():
        return image_frames(*_pairs_of_folder(source, Path(depth) if depth else None), camera, *units_m)
    if source.suffix.lower() not in IMAGE_SUFFIXES:
        known = ", ".join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, ".mcap"))
        raise DataError(f"{source} is no known kind of source", f"known: folders, BOP scenes, bags and {known}")
    return image_frames([source], [Path(depth)] if depth else None, camera, *units_m)


def brings_camera(path: str | Path) -> bool:
    """Whether a source knows its own intrinsics: BOP scenes and bags do, images and videos do not."""
    return is_bag(Path(path)) or is_bop_scene(Path(path))


def is_video(path: str | Path) -> bool:
    """Whether a source's frames follow each other in time, as a video's and a bag's do."""
    return is_bag(Path(path)) or Path(path).suffix.lower() in VIDEO_SUFFIXES


def bag_frames(bag: str | Path, config: RecordingConfig | None = None) -> Iterator[NamedFrame]:
    """Yield the frames of a bag, or of a recording of the RealSense SDK, named by their number."""
    topics = [topic.name for topic in describe_bag(bag).topics]
    is_recording = any(name.startswith(RECORDING_TOPICS) for name in topics)
    frames = recorded_realsense_frames(bag) if is_recording else read_bag_frames(bag, config)
    for index, frame in enumerate(frames):
        yield NamedFrame(f"{index:06d}", frame)


def image_frames(
    images: Sequence[Path],
    depths: Sequence[Path] | None,
    camera: Camera | None,
    depth_unit_m: float = 1e-3,
    float_depth_unit_m: float = 1.0,
) -> Iterator[NamedFrame]:
    """Yield one frame an image file, with the depth file at the same place of ``depths``; see ``read_depth``."""
    for index, path in enumerate(images):
        rgb = read_image(path)
        depth_m = read_depth(depths[index], depth_unit_m, float_depth_unit_m) if depths else None
        yield NamedFrame(path.stem, make_frame(str(path), rgb, depth_m, camera, index * _IMAGE_PERIOD_NS))


def video_frames(path: Path, camera: Camera | None) -> Iterator[NamedFrame]:
    """Yield the frames of a video with its own time; raises ``DataError`` where not one can be decoded."""
    capture = cv2.VideoCapture(str(path))
    try:
        index = 0
        while True:
            read, bgr = capture.read()
            if not read:
                break
            stamp_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            rgb = to_rgb(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            yield NamedFrame(f"{index:06d}", make_frame(str(path), rgb, None, camera, stamp_ns))
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise DataError(f"{path} cannot be read as a video", "it is empty, truncated or of an unknown codec")


def make_frame(name: str, rgb: Image, depth_m: DepthImage | None, camera: Camera | None, stamp_ns: int) -> Frame:
    """Join image, depth and camera; raises an error naming both sizes where they differ."""
    height, width = rgb.shape[:2]
    camera = camera or nominal_camera(width, height)
    if camera.wh != (width, height):
        raise CalibrationError(
            f"{name} is {width}x{height}, its camera {camera.width}x{camera.height}",
            "use the intrinsics of this resolution",
        )
    if depth_m is not None and depth_m.shape != (height, width):
        raise DataError(
            f"{name} is {width}x{height}, its depth {depth_m.shape[1]}x{depth_m.shape[0]}",
            "depth must be aligned to the colour image",
        )
    return Frame(rgb, camera, depth_m, stamp_ns)


def _pairs_of_folder(folder: Path, depth: Path | None) -> tuple[list[Path], list[Path] | None]:
    if depth is None and (folder / "rgb").is_dir() and (folder / "depth").is_dir():
        folder, depth = folder / "rgb", folder / "depth"
    images = list_images(folder)
    if depth is None:
        return images, None
    depths = {path.stem: path for path in list_images(depth, DEPTH_SUFFIXES)}
    missing = [image.name for image in images if image.stem not in depths]
    if missing:
        raise DataError(f"{depth} has no depth for {', '.join(missing[:3])}", "depth files are named as their images")
    return images, [depths[image.stem] for image in images]


def _bop_frames(scene: Path, depth_scale: float | None) -> Iterator[NamedFrame]:
    for item in read_bop_scene(scene, {}, depth_scale):
        yield NamedFrame(f"{item.image_id:06d}", item.frame)
