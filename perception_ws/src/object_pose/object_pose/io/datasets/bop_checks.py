"""BOP folders checked in the form of every other data set; ``io.bop`` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.core.geometry.se3 import rotation_error
from object_pose.io.bop import MM, SceneFiles, bop_scenes, read_models_info, scene_files
from object_pose.io.datasets.image_files import ImageHeader, headers
from object_pose.io.datasets.located_json import LocatedJson, read_located_json
from object_pose.io.datasets.samples import Fault
from object_pose.io.images import DEPTH_SUFFIXES, read_depth

# LM-O's own matrices, written with a few digits, are up to 0.01 off.
_ROTATION_TOLERANCE = 0.02
_DEPTH_ALONE = (".exr", ".npy")  # formats of depth that image libraries do not read


@dataclass(frozen=True)
class BopSummary:
    """What a BOP folder holds, and its faults."""

    scenes: int
    images: int
    objects: int
    faults: tuple[Fault, ...]


def check_bop(root: str | Path, thorough: bool = False) -> BopSummary:
    """Check every scene below ``root``: cameras, images, depth, masks, poses, boxes; ``thorough`` decodes every image.

    Raises ``DataError`` where there is no scene.
    """
    folder = Path(root)
    scenes = bop_scenes(folder)
    if not scenes:
        raise DataError(f"{folder} holds no BOP scene", "expected folders with a scene_camera.json")
    faults: list[Fault] = []
    known = _known_objects(folder, scene_files(scenes[0]).folder, faults)
    images = objects = 0
    for scene in scenes:
        check = _SceneCheck(scene_files(scene), known, thorough, faults)
        check.run()
        images += check.images
        objects += check.objects
    return BopSummary(len({scene_files(scene).folder for scene in scenes}), images, objects, tuple(faults))


def _known_objects(root: Path, scene: Path, faults: list[Fault]) -> frozenset[int] | None:
    """Return the ids of the models that belong to the scenes, or None where there are no models."""
    for place in (root, root.parent, scene.parent.parent):
        for name in ("models", "models_eval"):
            file = place / name / "models_info.json"
            if file.exists():
                try:
                    return frozenset(read_models_info(file))
                except DataError as error:
                    faults.append(Fault(file, None, error.message.removeprefix(f"{file} ")))
                    return None
    faults.append(Fault(root, None, "no models/models_info.json: object ids cannot be checked", "warning"))
    return None


class _SceneCheck:
    """Collects the faults of one scene, or of one of its sensors."""

    def __init__(self, scene: SceneFiles, known: frozenset[int] | None, thorough: bool, faults: list[Fault]) -> None:
        self.images = self.objects = 0
        self._scene = scene
        self._known = known
        self._thorough = thorough
        self._faults = faults

    def run(self) -> None:
        cameras = self._read("scene_camera")
        if cameras is None:
            return
        truths = infos = None
        if self._scene.json("scene_gt").exists():
            truths, infos = self._read("scene_gt"), self._read("scene_gt_info")
        else:
            self._fault("scene_gt", None, "is missing: the scene has no truth", "warning")
        for key, values in cameras.values.items():
            header = self._check_image(key, values, cameras.line(key))
            if header is None:
                continue
            self.images += 1
            if truths is not None and infos is not None:
                self._check_truths(key, truths, infos, header.wh)
        for document, name in ((truths, "scene_gt"), (infos, "scene_gt_info")):
            for key in document.values if document else ():
                if key not in cameras.values:
                    self._fault(name, document.line(key) if document else None, f"label without image {key}")

    def _read(self, name: str) -> LocatedJson | None:
        path = self._scene.json(name)
        try:
            return read_located_json(path)
        except DataError as error:
            self._faults.append(Fault(path, None, error.message.removeprefix(f"{path}").lstrip(": ")))
            return None

    def _fault(self, name: str, line: int | None, problem: str, severity: Any = "error") -> None:
        self._faults.append(Fault(self._scene.json(name), line, problem, severity))

    def _check_image(self, key: str, values: Any, line: int | None) -> ImageHeader | None:
        """Check camera, colour and depth image of one entry; return the colour image's header."""
        name = "scene_camera"
        if not key.isdecimal():
            self._fault(name, line, f"image id '{key}' is not a number")
            return None
        matrix = _numbers(values.get("cam_K") if isinstance(values, Mapping) else None, 9)
        if matrix is None or matrix[0] <= 0 or matrix[4] <= 0:
            self._fault(name, line, f"image {key} has no valid cam_K of 9 numbers")
        elif tuple(matrix[6:]) != (0.0, 0.0, 1.0):
            self._fault(name, line, f"image {key} has a cam_K that does not end in 0, 0, 1: is it written by columns?")
        file = self._scene.image(("rgb", "gray"), f"{int(key):06d}")
        if file is None:
            self._fault(name, line, f"label without image: {int(key):06d} is not in rgb/ or gray/")
            return None
        header = headers([file], self._thorough, self._faults).get(file)
        depth = self._scene.image(("depth",), f"{int(key):06d}", DEPTH_SUFFIXES)
        if depth is not None and header is not None:
            self._check_size(depth, header.wh, "depth image")
        return header

    def _check_truths(self, key: str, truths: LocatedJson, infos: LocatedJson, wh: tuple[int, int]) -> None:
        objects, boxes = truths.values.get(key), infos.values.get(key)
        if objects is None:
            self._fault("scene_gt", None, f"image {key} has no entry", "warning")
            return
        if not isinstance(objects, list) or not isinstance(boxes, list) or len(objects) != len(boxes):
            self._fault("scene_gt_info", infos.line(key), f"image {key} does not fit its entry in scene_gt.json")
            return
        for index, (item, info) in enumerate(zip(objects, boxes)):
            name = f"image {key}, object {index}"
            self._report("scene_gt", truths.line(key, index), name, self._pose_problems(item))
            self._report("scene_gt_info", infos.line(key, index), name, _info_problems(info, wh))
            for kind in ("mask", "mask_visib"):
                mask = self._scene.image((kind,), f"{int(key):06d}_{index:06d}")
                if mask is not None:
                    self._check_size(mask, wh, kind)
        self.objects += len(objects)

    def _report(self, name: str, line: int | None, what: str, problems: Sequence[str]) -> None:
        for problem in problems:
            self._fault(name, line, f"{what}: {problem}")

    def _pose_problems(self, item: Any) -> list[str]:
        values = item if isinstance(item, Mapping) else {}
        problems = []
        rotation, translation = _numbers(values.get("cam_R_m2c"), 9), _numbers(values.get("cam_t_m2c"), 3)
        if rotation is None:
            problems.append("cam_R_m2c is not 9 finite numbers")
        elif rotation_error(rotation.reshape(3, 3)) > _ROTATION_TOLERANCE:
            problems.append("cam_R_m2c is no rotation")
        if translation is None:
            problems.append("cam_t_m2c is not 3 finite numbers")
        elif translation[2] <= 0:
            problems.append(f"the object lies behind the camera (z = {translation[2]:g} mm)")
        object_id = values.get("obj_id")
        if not isinstance(object_id, int) or (self._known is not None and object_id not in self._known):
            problems.append(f"obj_id {object_id} is not among the models")
        return problems

    def _size(self, file: Path) -> tuple[int, int] | None:
        """Return the size of an image or a depth file; None where it cannot be used, which is a fault."""
        if file.suffix.lower() not in _DEPTH_ALONE:
            header = headers([file], self._thorough, self._faults, is_picture=False).get(file)
            return header.wh if header else None
        try:
            height, width = read_depth(file, float_unit_m=MM).shape  # of any unit: the size alone counts
        except DataError as error:
            self._faults.append(Fault(file, None, error.message))
            return None
        return width, height

    def _check_size(self, file: Path, wh: tuple[int, int], what: str) -> None:
        found = self._size(file)
        if found is not None and found != wh:
            own, image = f"{found[0]}x{found[1]}", f"{wh[0]}x{wh[1]}"
            self._faults.append(Fault(file, None, f"{what} is {own}, its image {image}"))


def _info_problems(info: Any, wh: tuple[int, int]) -> list[str]:
    values = info if isinstance(info, Mapping) else {}
    box, visible = _numbers(values.get("bbox_visib"), 4), _numbers([values.get("visib_fract")], 1)
    if visible is None or not 0.0 <= visible[0] <= 1.0:
        return ["visib_fract is not in 0..1"]
    if box is None:
        return ["bbox_visib is not 4 finite numbers"]
    if visible[0] == 0.0:
        return []
    if box[2] <= 0 or box[3] <= 0:
        return ["bbox_visib has no area"]
    # Scenes of the BOP benchmark count the last pixel in some files and not in others.
    if box[:2].min() < -1 or (box[:2] + box[2:] > np.array(wh) + 1).any():
        return [f"bbox_visib reaches beyond the image of {wh[0]}x{wh[1]}"]
    return []


def _numbers(values: Any, count: int) -> Array | None:
    try:
        array = np.array(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        return None
    return array if len(array) == count and np.isfinite(array).all() else None
