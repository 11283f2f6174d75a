"""Samples for a hand-eye calibration as users have them: images, and a file with the robot's pose for each."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.core.geometry.se3 import (
    exp_so3,
    inverse,
    make_transform,
    rotation_error,
    rotation_from_quat_wxyz,
)
from object_pose.io.files import load_yaml, read_text, replacing
from object_pose.io.images import IMAGE_SUFFIXES, list_images

GRIPPER_IN_BASE, BASE_IN_GRIPPER = "gripper_in_base", "base_in_gripper"
DIRECTIONS = (GRIPPER_IN_BASE, BASE_IN_GRIPPER)
LIST_NAME, TRAJECTORY_NAME = "samples.yaml", "trajectory.txt"
_POSE_SUFFIXES = (".txt", ".csv", ".yaml", ".yml", ".json")
_FORMS = "x y z qx qy qz qw, x y z and a rotation vector, or a 3x4 or 4x4 matrix; metres and radians"
# As 'ros2 run tf2_ros tf2_echo' prints a transform.
_TF2_ECHO = re.compile(r"Translation: \[([^]]+)\]\s*- Rotation: in Quaternion(?: \(xyzw\))? \[([^]]+)\]")
_FARTHEST_M = 20.0
_TOLERANCE = 0.02
# The robot is still where it moves by no more than this as long before and after an image as its stamp may be wrong.
STILL_S = 0.25
_STILL_M, _STILL_RAD = 3e-4, 5e-4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RobotSample:
    """An image, and where the robot was when it was taken: T_base_gripper (4, 4), joint positions (K,) if known."""

    image: Path
    T_base_gripper: Array
    joints: Array | None = None

    @property
    def name(self) -> str:
        """The stem of the image's file."""
        return self.image.stem


def read_samples(folder: str | Path, direction: str = GRIPPER_IN_BASE) -> list[RobotSample]:
    """Read the samples of a folder: those that ``samples.yaml`` lists, or images and pose files of the same number.

    Of a folder with ``trajectory.txt`` (lines 'stamp x y z qx qy qz qw') and images that are named by their stamps in
    seconds, those are samples at which the robot stood still. ``direction`` says what the poses are of. Raises
    ``DataError`` naming the file that cannot be used.
    """
    place = Path(folder)
    if not place.is_dir():
        raise DataError(f"folder {place} does not exist")
    listed, trajectory = place / LIST_NAME, place / TRAJECTORY_NAME
    samples = _listed(listed) if listed.exists() else _still(trajectory) if trajectory.exists() else _paired(place)
    if direction == GRIPPER_IN_BASE:
        return samples
    return [RobotSample(item.image, inverse(item.T_base_gripper), item.joints) for item in samples]


def write_samples(folder: Path, samples: Sequence[RobotSample]) -> None:
    """List samples whose images lie in ``folder`` in its ``samples.yaml``."""
    entries = [
        {"image": item.image.name, "pose": [float(value) for value in item.T_base_gripper.ravel()]}
        | ({} if item.joints is None else {"joints": [float(value) for value in item.joints]})
        for item in samples
    ]
    with replacing(folder / LIST_NAME) as temporary:
        temporary.write_text(yaml.safe_dump({"samples": entries}, default_flow_style=None))


def still_pose(poses: Array) -> Array | None:
    """Return the mean (4, 4) of the robot's poses (N, 4, 4) for ``STILL_S`` before and after an image.

    None where they show that it moves.
    """
    shift = np.ptp(poses[:, :3, 3], axis=0).max()
    turn = Rotation.from_matrix(poses[0, :3, :3].T @ poses[:, :3, :3]).magnitude().max()
    if shift > _STILL_M or turn > _STILL_RAD:
        return None
    return make_transform(Rotation.from_matrix(poses[:, :3, :3]).mean().as_matrix(), poses[:, :3, 3].mean(axis=0))


def _listed(path: Path) -> list[RobotSample]:
    values = _yaml(path)
    entries = values.get("samples") if isinstance(values, Mapping) else values
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise DataError(f"{path} must hold a list 'samples' with 'image' and 'pose' of each")
    samples = []
    for index, entry in enumerate(entries):
        where = f"{path}, sample {index}"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("image"), str) or "pose" not in entry:
            raise DataError(f"{where} must have 'image' and 'pose'")
        joints = None if entry.get("joints") is None else np.array(_numbers(entry["joints"], where))
        samples.append(RobotSample(path.parent / entry["image"], _pose(entry["pose"], where), joints))
    return samples


def _paired(folder: Path) -> list[RobotSample]:
    images = _numbered(folder, IMAGE_SUFFIXES)
    poses = _numbered(folder, _POSE_SUFFIXES)
    both = sorted(images.keys() & poses.keys())
    if not both:
        raise DataError(
            f"{folder} holds no images with pose files of the same number",
            f"name them as 3.png and 3_pose.txt, or list them in {LIST_NAME}",
        )
    alone = sorted(images.keys() - poses.keys())
    if alone:
        raise DataError(f"{images[alone[0]]} has no pose file", "remove the image, or add its pose")
    samples = []
    for number in both:
        path = poses[number]
        values = _yaml(path) if path.suffix.lower() in (".yaml", ".yml", ".json") else _text(path)
        samples.append(RobotSample(images[number], _pose(values, str(path))))
    return samples


def _still(path: Path) -> list[RobotSample]:
    """Return the images beside a trajectory at which the robot stood still, with its mean pose."""
    rows = [line.split() for line in _text(path).splitlines() if line.strip()[:1] not in ("", "#")]
    if len(rows) < 2 or any(len(row) != 8 for row in rows):
        raise DataError(f"{path} must hold lines 'stamp x y z qx qy qz qw'")
    values = [_numbers(row, str(path)) for row in rows]
    stamps = np.array([row[0] for row in values])
    poses = np.stack([_transform(row[1:], str(path)) for row in values])
    samples, moving = [], []
    for image in list_images(path.parent):
        try:
            stamp = float(image.stem)
        except ValueError as error:
            raise DataError(f"{image} is not named by its stamp in seconds", f"as {path.name} needs it") from error
        near = np.abs(stamps - stamp) <= STILL_S
        is_inside = stamps.min() <= stamp - STILL_S and stamp + STILL_S <= stamps.max()
        pose = still_pose(poses[near]) if is_inside and near.sum() >= 2 else None
        if pose is None:
            moving.append(image.name)
        else:
            samples.append(RobotSample(image, pose))
    if not samples:
        raise DataError(f"the robot of {path} stands still at no image", f"for {2 * STILL_S:g} s about its stamp")
    if moving:
        logger.warning("the robot moves at %d images, which are left out: %s", len(moving), ", ".join(moving[:5]))
    return samples


def _numbered(folder: Path, suffixes: Sequence[str]) -> dict[int, Path]:
    """Return files by the last number in their names; hidden ones, as macOS leaves, are left out."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        numbers = re.findall(r"\d+", path.stem)
        if path.suffix.lower() not in suffixes or not numbers or path.name.startswith("."):
            continue
        if int(numbers[-1]) in found:
            raise DataError(f"{found[int(numbers[-1])]} and {path} have the same number", "keep one of them")
        found[int(numbers[-1])] = path
    return found


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read", str(error)) from error


def _yaml(path: Path) -> Any:
    documents = [part for part in re.split(r"^---\s*$", _text(path), flags=re.MULTILINE) if part.strip()]
    return load_yaml(path, DataError, documents[0] if documents else "")  # 'ros2 topic echo' ends each message so


def _pose(values: Any, where: str) -> Array:
    """Return the transform of a pose in one of its forms."""
    if isinstance(values, Mapping):
        for place, turn in (("position", "orientation"), ("translation", "rotation")):
            if place in values and turn in values:
                position, rotation = _named(values[place], "xyz", where), _named(values[turn], "xyzw", where)
                if len(position) == 3 and len(rotation) == 9:
                    return _transform(np.column_stack([np.reshape(rotation, (3, 3)), position]).ravel(), where)
                return _transform([*position, *rotation], where)
        for inner in ("pose", "transform"):  # of a stamped or uncertain pose
            if inner in values:
                return _pose(values[inner], where)
        if "data" not in values:
            raise DataError(f"{where} holds no pose that is known", _FORMS)
        values = values["data"]
    if isinstance(values, str) and (said := _TF2_ECHO.search(values)):
        values = f"{said[1]}, {said[2]}"
    if isinstance(values, str):
        values = [part for part in re.split(r"[\s,;]+", values.strip("[]() \n")) if part]
    return _transform(_numbers(values, where), where)


def _named(values: Any, names: str, where: str) -> list[float]:
    if isinstance(values, Mapping):
        values = [values.get(name) for name in names]
    return _numbers(values, where)


def _numbers(values: Any, where: str) -> list[float]:
    try:
        return [float(value) for value in np.array(values, dtype=np.float64).ravel()]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where} must hold numbers", _FORMS) from error


def _transform(numbers: Sequence[float] | Array, where: str) -> Array:
    values = np.array(numbers)
    if not np.all(np.isfinite(values)):
        raise DataError(f"{where} holds a number that is not finite")
    if len(values) == 7:
        norm = float(np.linalg.norm(values[3:]))
        if abs(norm - 1.0) > _TOLERANCE:
            raise DataError(f"{where}: the quaternion's norm is {norm:.3f}, not 1", _FORMS)
        x, y, z, w = values[3:]
        pose = make_transform(rotation_from_quat_wxyz([w, x, y, z]), values[:3])
    elif len(values) == 6:
        angle = float(np.linalg.norm(values[3:]))
        if angle > 2.0 * np.pi:
            problem = f"{where}: the rotation vector's norm is {angle:.1f} radians"
            raise DataError(problem, f"are these degrees? {_FORMS}")
        pose = make_transform(exp_so3(values[3:]), values[:3])
    elif len(values) in (12, 16):
        pose = np.vstack([values[:12].reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
        if rotation_error(pose[:3, :3]) > _TOLERANCE:
            raise DataError(f"{where}: the matrix holds no rotation", _FORMS)
    else:
        raise DataError(f"{where} holds {len(values)} numbers, which is no pose", _FORMS)
    if np.abs(pose[:3, 3]).max() > _FARTHEST_M:
        raise DataError(f"{where}: the gripper is {np.abs(pose[:3, 3]).max():.0f} m away", "are these millimetres?")
    return pose
