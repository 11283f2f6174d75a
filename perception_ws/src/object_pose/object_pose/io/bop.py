"""Data sets in BOP's layout: scenes with their truth, and what is known of the object models (mm in, metres out).

Of a scene of several sensors, whose files and folders end in ``_cam1`` and the like, each sensor is named by its
``scene_camera_cam1.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError, DataError
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
    """Yield the frames of a scene folder, or of one sensor's ``scene_camera_SENSOR.json``, in the order of their ids.

    ``names`` maps BOP object ids to class names; class ids are its order, and other objects are left out. Depth is read
    where the scene has it, in counts of ``depth_scale`` millimetres or what the scene says; truth where ``names`` want
    it and the scene has ``scene_gt.json``. Raises ``DataError`` naming a file or field.
    """
    for read in bop_frame_readers(scene, names, depth_scale):
        yield read()


def bop_frame_readers(
    scene: str | Path, names: Mapping[int, str], depth_scale: float | None = None
) -> list[Callable[[], BopFrame]]:
    """Return what reads each frame of a scene, in the order of their ids; see ``read_bop_scene``."""
    files = scene_files(scene)
    folder = files.folder
    cameras = _read_json(files.json("scene_camera"))
    has_truth = bool(names) and files.json("scene_gt").exists()
    truths = _read_json(files.json("scene_gt")) if has_truth else {}
    infos = _read_json(files.json("scene_gt_info")) if has_truth else {}
    scene_id = int(folder.name) if folder.name.isdecimal() else 0

    def read(key: str) -> BopFrame:
        frame = _read_frame(files, int(key), cameras[key], depth_scale)
        try:
            found = _read_truths(truths.get(key, []), infos.get(key, []), names, files.json("scene_gt_info"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{folder}: image {key} has an object without a valid field: {error!r}") from error
        return BopFrame(scene_id, int(key), frame, found)

    return [partial(read, key) for key in sorted(cameras, key=_image_id)]


@dataclass(frozen=True)
class SceneFiles:
    """Where the files of a scene lie; ``sensor`` is what those of one of several sensors end in, such as '_cam1'."""

    folder: Path
    sensor: str = ""

    def json(self, name: str) -> Path:
        """Return the path of one of the scene's files, such as 'scene_gt'."""
        return self.folder / f"{name}{self.sensor}.json"

    def image(self, kinds: Sequence[str], stem: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Path | None:
        """Return the image file of a stem in the first of the folders ``kinds`` that has it, or None."""
        files = (self.folder / f"{kind}{self.sensor}" / f"{stem}{suffix}" for kind in kinds for suffix in suffixes)
        return next((file for file in files if file.exists()), None)


def camera_files(folder: Path) -> list[Path]:
    """Return the ``scene_camera.json`` of a scene folder, or one of each sensor, sorted; empty where it is no scene."""
    single = folder / "scene_camera.json"
    return [single] if single.is_file() else sorted(folder.glob("scene_camera_*.json"))


def is_bop_scene(path: Path) -> bool:
    """Whether ``read_bop_scene`` takes a path: a scene folder, or the camera file of one of its sensors."""
    return _is_camera_file(path) or bool(camera_files(path))


def bop_scenes(root: str | Path, far_below: bool = True) -> list[Path]:
    """Return what ``read_bop_scene`` takes of a BOP scene, or of all scenes below a folder, sorted.

    Those ``far_below`` are more than the two folders down that a data set's are. Of a scene of several sensors that is
    the camera file of each. Empty where there is no scene.
    """
    place = Path(root)
    if is_bop_scene(place):
        folders = {place}
    else:
        # Links to scenes and splits are followed, too, which ** does not do.
        depths = ("*", "*/*", "**") if far_below else ("*", "*/*")
        folders = {path.parent for below in depths for path in place.glob(f"{below}/scene_camera*.json")}
    found = [(folder, camera_files(folder)) for folder in folders]
    return sorted(scene for folder, files in found for scene in (files if len(files) > 1 else [folder]))


def labelled_scenes(root: str | Path) -> list[Path]:
    """Return those of ``bop_scenes`` that have a truth."""
    return [scene for scene in bop_scenes(root) if has_truth(scene)]


def has_truth(scene: Path) -> bool:
    """Whether a scene, as ``bop_scenes`` returns it, has a truth."""
    return scene_files(scene).json("scene_gt").exists()


def scene_files(path: str | Path) -> SceneFiles:
    """Return the files of a scene folder or of a sensor's camera file.

    Raises ``DataError`` for the folder of a scene of several sensors.
    """
    place = Path(path)
    if _is_camera_file(place):
        return SceneFiles(place.parent, place.stem.removeprefix("scene_camera"))
    found = camera_files(place)
    if len(found) > 1:
        sensors = ", ".join(file.stem.removeprefix("scene_camera_") for file in found)
        problem = f"{place} is a scene of several sensors: {sensors}"
        raise DataError(problem, f"name one by its file, such as {found[0]}")
    return SceneFiles(place, found[0].stem.removeprefix("scene_camera") if found else "")


def _is_camera_file(path: Path) -> bool:
    return path.is_file() and path.name.startswith("scene_camera") and path.suffix == ".json"


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


def _read_frame(files: SceneFiles, image_id: int, values: Mapping[str, Any], depth_scale: float | None) -> Frame:
    rgb = read_image(_image_file(files, image_id))
    height, width = rgb.shape[:2]
    try:
        matrix = np.array(values["cam_K"], dtype=np.float64).reshape(3, 3)
        scale = depth_scale or float(values.get("depth_scale", 1.0))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        where = f"{files.json('scene_camera')}: image {image_id}"
        raise DataError(f"{where} has no valid cam_K or depth_scale") from error
    try:
        camera = Camera.from_matrix(width, height, matrix)
    except CalibrationError as error:
        raise DataError(f"{files.json('scene_camera')}: image {image_id}: {error.message}", error.hint) from error
    depth_file = files.image(("depth",), f"{image_id:06d}", DEPTH_SUFFIXES)
    depth_m = read_depth(depth_file, scale * MM, scale * MM) if depth_file else None
    if depth_m is not None and depth_m.shape != (height, width):
        raise DataError(f"{depth_file} is {depth_m.shape[1]}x{depth_m.shape[0]}, its image {width}x{height}")
    return Frame(rgb, camera, depth_m)


def _image_file(files: SceneFiles, image_id: int) -> Path:
    file = files.image(("rgb", "gray"), f"{image_id:06d}")
    if file is None:
        sensor = files.sensor
        raise DataError(f"{files.folder} has no image {image_id:06d} in rgb{sensor}/ or gray{sensor}/")
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
