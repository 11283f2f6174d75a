"""Scenes written in BOP's layout (metres in, millimetres out); ``io.bop`` reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array, DepthImage, Image
from object_pose.core.geometry.camera import Camera, undistorted_depth, undistorted_image
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.io.bop import bop_names
from object_pose.io.images import write_depth, write_image
from object_pose.io.writers import write_json

MM_PER_M = 1e3


@dataclass(frozen=True)
class LabelledFrame:
    """One frame: colour, depth in metres if any, camera, and the confident poses in it, or the truth."""

    rgb: Image
    depth_m: DepthImage | None
    camera: Camera
    poses: tuple[ObjectPose | ObjectTruth, ...]


def write_labelled_scene(scene: Path, labels: Sequence[str], frames: Iterable[LabelledFrame]) -> None:
    """Write frames, one at a time, as a BOP scene without the lens's distortion; ``labels`` are the classes."""
    object_ids = {name: number for number, name in bop_names(labels).items()}
    scene.mkdir(parents=True)
    cameras, truths, infos = {}, {}, {}
    for number, frame in enumerate(frames):
        write_image(scene / "rgb" / f"{number:06d}.png", undistorted_image(frame.rgb, frame.camera))
        if frame.depth_m is not None:
            write_depth(scene / "depth" / f"{number:06d}.png", undistorted_depth(frame.depth_m, frame.camera))
        key = str(number)
        cameras[key] = camera_entry(frame.camera)
        truths[key] = [truth_entry(pose.T_camera_object, object_ids[pose.class_name]) for pose in frame.poses]
        infos[key] = [_visible_entry(pose, frame.camera) for pose in frame.poses]
    write_json(scene / "scene_camera.json", cameras)
    write_json(scene / "scene_gt.json", truths)
    write_json(scene / "scene_gt_info.json", infos)


def camera_entry(camera: Camera) -> dict[str, Any]:
    """Return an image's entry of ``scene_camera.json``; depth is in millimetres."""
    return {"cam_K": camera.matrix.ravel().tolist(), "depth_scale": 1.0}


def truth_entry(T_camera_object: Array, object_id: int) -> dict[str, Any]:
    """Return an object's entry of ``scene_gt.json``."""
    return {
        "cam_R_m2c": T_camera_object[:3, :3].ravel().tolist(),
        "cam_t_m2c": (MM_PER_M * T_camera_object[:3, 3]).tolist(),
        "obj_id": object_id,
    }


def _visible_entry(pose: ObjectPose | ObjectTruth, camera: Camera) -> Mapping[str, Any]:
    """Return an object's entry of ``scene_gt_info.json``, as far as a pose tells it."""
    left, top, right, bottom = camera.undistort(pose.box_xyxy.reshape(2, 2)).ravel().tolist()
    visible = float(np.clip(pose.visibility, 0.0, 1.0)) if np.isfinite(pose.visibility) else 1.0
    return {"bbox_visib": [left, top, right - left, bottom - top], "visib_fract": visible}
