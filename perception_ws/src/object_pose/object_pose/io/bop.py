"""Data sets in BOP's layout: scenes with their truth, and what is known of the object models (mm in, metres out)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.results.pose import ObjectTruth
from object_pose.io.files import read_text
from object_pose.io.images import DEPTH_SUFFIXES, IMAGE_SUFFIXES, read_depth, read_image

MM = 1e-3
_NAME_PREFIX = "obj_"


@dataclass(frozen=True)
class BopFrame:
    """One image of a scene: ids as in BOP's files, the frame, and the true objects of the wanted classes."""

    scene_id: int
    image_id: int
    frame: Frame
    truths: tuple[ObjectTruth, ...]


@dataclass(frozen=True)
class BopModelInfo:
    """What ``models_info.json`` says of one object, in metres; the box is axis-aligned in the object frame.

    ``name`` is ours: BOP's own files have none, and it is empty then.
    """

    diameter: float
    box_center: Array
    box_size: Array
    symmetry: Symmetry
    name: str = ""


def read_bop_scene(scene: str | Path, names: Mapping[int, str], depth_scale: float | None = None) -> Iterator[BopFrame]:
    """Yield the frames of a scene folder in the order of their ids.

    ``names`` maps BOP object ids to class names; class ids are its order, and other objects are left out. Depth is read
    where the scene has it, in counts of ``depth_scale`` millimetres or what the scene says; truth where ``names`` want
    it and the scene has ``scene_gt.json``. Raises ``DataError`` naming a file or field.
    """
    folder = Path(scene)
    cameras = _read_json(folder / "scene_camera.json")
    has_truth = bool(names) and (folder / "scene_gt.json").exists()
    truths = _read_json(folder / "scene_gt.json") if has_truth else {}
    infos = _read_json(folder / "scene_gt_info.json") if has_truth else {}
    scene_id = int(folder.name) if folder.name.isdecimal() else 0
    for key in sorted(cameras, key=_image_id):
        frame = _read_frame(folder, int(key), cameras[key], depth_scale)
        try:
            found = _read_truths(truths.get(key, []), infos.get(key, []), names, folder / "scene_gt_info.json")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{folder}: image {key} has an object without a valid field: {error!r}") from error
        yield BopFrame(scene_id, int(key), frame, found)


def bop_names(labels: Sequence[str]) -> dict[int, str]:
    """Return the BOP object id of each label: its number in 'obj_000005', or its place, counted from 1."""
    if all(label.startswith(_NAME_PREFIX) and label[len(_NAME_PREFIX) :].isdecimal() for label in labels):
        return {int(label[len(_NAME_PREFIX) :]): label for label in labels}
    return dict(enumerate(labels, start=1))


def read_models_info(path: str | Path) -> dict[int, BopModelInfo]:
    """Read ``models_info.json``: object ids to what is known of them."""
    file = Path(path)
    try:
        return {int(key): _model_info(values) for key, values in _read_json(file).items()}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{file} has a model without a valid field: {error!r}") from error


def _model_info(values: Mapping[str, Any]) -> BopModelInfo:
    low = np.array([values[f"min_{axis}"] for axis in "xyz"], dtype=np.float64) * MM
    size = np.array([values[f"size_{axis}"] for axis in "xyz"], dtype=np.float64) * MM
    name = str(values.get("name", ""))
    return BopModelInfo(float(values["diameter"]) * MM, low + 0.5 * size, size, _symmetry(values), name)


def _symmetry(values: Mapping[str, Any]) -> Symmetry:
    discrete = np.array(values.get("symmetries_discrete", []), dtype=np.float64).reshape(-1, 4, 4)
    discrete[:, :3, 3] *= MM
    continuous = values.get("symmetries_continuous", [])
    if not continuous:
        return Symmetry(discrete)
    axis = np.array(continuous[0]["axis"], dtype=np.float64)
    offset = np.array(continuous[0]["offset"], dtype=np.float64) * MM
    return Symmetry(discrete, axis / np.linalg.norm(axis), offset)


def _image_id(key: str) -> int:
    if not key.isdecimal():
        raise DataError(f"scene_camera.json has the image id '{key}'", "ids are whole numbers")
    return int(key)


def _read_frame(folder: Path, image_id: int, values: Mapping[str, Any], depth_scale: float | None) -> Frame:
    rgb = read_image(_image_file(folder, image_id))
    height, width = rgb.shape[:2]
    try:
        matrix = np.array(values["cam_K"], dtype=np.float64).reshape(3, 3)
        scale = depth_scale or float(values.get("depth_scale", 1.0))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{folder / 'scene_camera.json'}: image {image_id} has no valid cam_K or depth_scale"
        ) from error
    camera = Camera(width, height, matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
    depth_file = find_image(folder, ("depth",), f"{image_id:06d}", DEPTH_SUFFIXES)
    depth_m = read_depth(depth_file, scale * MM, scale * MM) if depth_file else None
    if depth_m is not None and depth_m.shape != (height, width):
        raise DataError(f"{depth_file} is {depth_m.shape[1]}x{depth_m.shape[0]}, its image {width}x{height}")
    return Frame(rgb, camera, depth_m)


def find_image(scene: Path, kinds: Sequence[str], stem: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Path | None:
    """Return a scene's image file of a stem in the first of the folders ``kinds`` that has it, or None."""
    files = (scene / kind / f"{stem}{suffix}" for kind in kinds for suffix in suffixes)
    return next((file for file in files if file.exists()), None)


def _image_file(folder: Path, image_id: int) -> Path:
    file = find_image(folder, ("rgb", "gray"), f"{image_id:06d}")
    if file is None:
        raise DataError(f"{folder} has no image {image_id:06d} in rgb/ or gray/")
    return file


def _read_truths(
    objects: list[dict[str, Any]], infos: list[dict[str, Any]], names: Mapping[int, str], file: Path
) -> tuple[ObjectTruth, ...]:
    if len(objects) != len(infos):
        raise DataError(f"{file} describes {len(infos)} objects, scene_gt.json {len(objects)}")
    class_ids = {object_id: index for index, object_id in enumerate(names)}
    return tuple(
        _truth(item, info, class_ids[item["obj_id"]], names[item["obj_id"]])
        for item, info in zip(objects, infos)
        if item["obj_id"] in class_ids
    )


def _truth(item: Mapping[str, Any], info: Mapping[str, Any], class_id: int, name: str) -> ObjectTruth:
    rotation = np.array(item["cam_R_m2c"], dtype=np.float64).reshape(3, 3)
    transform = se3.make_transform(rotation, np.array(item["cam_t_m2c"], dtype=np.float64) * MM)
    x, y, width, height = info["bbox_visib"]
    box = np.array([x, y, x + width, y + height], dtype=np.float64)
    return ObjectTruth(class_id, name, transform, float(info["visib_fract"]), box)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_text(path))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", "is this a BOP scene or model folder?") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} must hold an object by id")
    return values
