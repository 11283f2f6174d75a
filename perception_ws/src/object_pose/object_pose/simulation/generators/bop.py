"""Writes simulated frames as a BOP data set, scene by scene and never half; ``io.bop`` reads it.

Format: https://github.com/thodan/bop_toolkit/blob/master/docs/bop_datasets_format.md (millimetres; ids from 1).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from object_pose.core.geometry.symmetry import Symmetry
from object_pose.io.bop_writing import MM_PER_M, camera_entry, truth_entry
from object_pose.io.files import new_folder
from object_pose.io.images import write_depth, write_grey, write_image
from object_pose.simulation.parts.objects import SceneObject, bop_object_name
from object_pose.simulation.render.materials import srgb_bytes
from object_pose.simulation.render.object_views import object_depth
from object_pose.simulation.scenes.truth import SimulatedFrame


def write_bop_dataset(
    root: Path,
    objects: Sequence[SceneObject],
    scene_frames: Callable[[int], Iterable[SimulatedFrame]],
    scene_count: int,
    frames_per_scene: int,
    split: str = "train",
) -> Iterator[Path]:
    """Write models and scenes under ``root``; yield each scene's folder once it is complete.

    A folder appears under its name only when everything in it is written, and scenes that are already there are kept,
    so an interrupted run is resumed by calling again. ``scene_frames(scene_id)`` must give the same frames every time.
    BOP object ids are class ids plus one.
    """
    write_bop_models(root, objects)
    for scene_id in range(scene_count):
        yield write_bop_scene(root, objects, scene_id, islice(scene_frames(scene_id), frames_per_scene), split)


def write_bop_scene(
    root: Path,
    objects: Sequence[SceneObject],
    scene_id: int,
    frames: Iterable[SimulatedFrame],
    split: str = "train",
) -> Path:
    """Write one scene, whole or not at all, unless it is there, and return its folder."""
    target = root / split / f"{scene_id:06d}"
    if not target.exists():
        with new_folder(target) as folder:
            _write_scene(folder, objects, frames)
    return target


def write_bop_models(root: Path, objects: Sequence[SceneObject]) -> Path:
    """Write ``root``/models, whole or not at all, unless it is there, and return it."""
    target = root / "models"
    if not target.exists():
        with new_folder(target) as folder:
            _write_models(folder, objects)
    return target


def _write_models(folder: Path, objects: Sequence[SceneObject]) -> None:
    info: dict[str, Any] = {}
    for object_id, item in enumerate(objects, start=1):
        colors = item.mesh.colors * (item.palette[0].color if item.palette else (1.0, 1.0, 1.0))
        mesh = trimesh.Trimesh(
            item.mesh.vertices * MM_PER_M,
            item.mesh.faces,
            vertex_normals=item.mesh.normals,
            vertex_colors=srgb_bytes(np.asarray(colors, dtype=np.float64)),
            process=False,
        )
        (folder / f"{bop_object_name(object_id)}.ply").write_bytes(
            trimesh.exchange.ply.export_ply(mesh, vertex_normal=True)
        )
        info[str(object_id)] = _model_info(item)
    _write_json(folder / "models_info.json", info)


def _model_info(item: SceneObject) -> dict[str, Any]:
    model = item.model
    low, size = (model.box_center - 0.5 * model.box_size) * MM_PER_M, model.box_size * MM_PER_M
    info: dict[str, Any] = {"name": model.name, "diameter": model.diameter * MM_PER_M}
    for axis, letter in enumerate("xyz"):
        info[f"min_{letter}"], info[f"size_{letter}"] = float(low[axis]), float(size[axis])
    return {**info, **_symmetry_info(model.symmetry)}


def _symmetry_info(symmetry: Symmetry) -> dict[str, Any]:
    info: dict[str, Any] = {}
    if len(symmetry.discrete):
        discrete = symmetry.discrete.copy()
        discrete[:, :3, 3] *= MM_PER_M
        info["symmetries_discrete"] = discrete.reshape(-1, 16).tolist()
    if symmetry.axis is not None:
        offset = (symmetry.offset * MM_PER_M).tolist()
        info["symmetries_continuous"] = [{"axis": symmetry.axis.tolist(), "offset": offset}]
    return info


def _write_scene(folder: Path, objects: Sequence[SceneObject], frames: Iterable[SimulatedFrame]) -> None:
    for name in ("rgb", "depth", "mask", "mask_visib"):
        (folder / name).mkdir()
    cameras: dict[str, Any] = {}
    truths: dict[str, Any] = {}
    info: dict[str, Any] = {}
    for image_id, simulated in enumerate(frames):
        frame = simulated.frame
        write_image(folder / "rgb" / f"{image_id:06d}.png", frame.rgb)
        if frame.depth_m is not None:
            write_depth(folder / "depth" / f"{image_id:06d}.png", frame.depth_m)
        measured = np.zeros(frame.rgb.shape[:2], dtype=bool) if frame.depth_m is None else frame.depth_m > 0.0
        cameras[str(image_id)] = camera_entry(frame.camera)
        truths[str(image_id)] = [truth_entry(truth.T_camera_object, truth.class_id + 1) for truth in simulated.truths]
        info[str(image_id)] = []
        for index, truth in enumerate(simulated.truths):
            alone = object_depth(objects[truth.class_id].mesh, truth.T_camera_object, frame.camera) > 0.0
            visible = simulated.instance_ids == index
            name = f"{image_id:06d}_{index:06d}.png"
            write_grey(folder / "mask" / name, alone * np.uint8(255))
            write_grey(folder / "mask_visib" / name, visible * np.uint8(255))
            info[str(image_id)].append(_info_entry(alone, visible, measured, truth.visibility))
    _write_json(folder / "scene_camera.json", cameras)
    _write_json(folder / "scene_gt.json", truths)
    _write_json(folder / "scene_gt_info.json", info)


def _info_entry(
    alone: NDArray[np.bool_], visible: NDArray[np.bool_], measured: NDArray[np.bool_], visibility: float
) -> dict[str, Any]:
    visible_count = int(visible.sum())
    return {
        "bbox_obj": _pixel_box(alone),
        "bbox_visib": _pixel_box(visible),
        "px_count_all": round(visible_count / visibility),
        "px_count_valid": int(measured[alone].sum()),
        "px_count_visib": visible_count,
        "visib_fract": visibility,
    }


def _pixel_box(mask: NDArray[np.bool_]) -> list[int]:
    """Return x, y, width, height of a mask in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content))
