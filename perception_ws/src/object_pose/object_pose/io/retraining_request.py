"""Requests to train a model anew: a folder with the frames that gave the reason, labelled by the poses tracked in them.

``scene`` is a BOP scene, so that every command reads it; ``request.json`` has the model, the reasons and what became of
the request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import DepthImage, Image
from object_pose.core.errors import DataError
from object_pose.core.geometry.camera import Camera, undistorted_depth, undistorted_image
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.io.bop import bop_names
from object_pose.io.files import new_folder
from object_pose.io.images import write_depth, write_image
from object_pose.io.writers import write_json

SCENE = "scene/000000"
_DESCRIPTION = "request.json"
_MM_PER_M = 1e3
OPEN, DONE = "open", "done"


@dataclass(frozen=True)
class RequestFrame:
    """One frame: colour, depth in metres if any, camera, and the confident poses in it, or the truth."""

    rgb: Image
    depth_m: DepthImage | None
    camera: Camera
    poses: tuple[ObjectPose | ObjectTruth, ...]


@dataclass(frozen=True)
class RetrainingRequest:
    """A request on disk: the model file that was in use, the reasons in words, its state and the result, if any."""

    path: Path
    model: str
    reasons: tuple[str, ...]
    state: str
    frames: int
    result: Mapping[str, Any]

    @property
    def scene(self) -> Path:
        """The BOP scene of the frames."""
        return self.path / SCENE

    def closed(self, result: Mapping[str, Any]) -> RetrainingRequest:
        """Note what became of the request, and return it."""
        document = json.loads((self.path / _DESCRIPTION).read_text())
        write_json(self.path / _DESCRIPTION, document | {"state": DONE, "result": dict(result)})
        return read_request(self.path)


def write_request(
    folder: Path,
    model: str,
    labels: Sequence[str],
    reasons: Sequence[str],
    frames: Sequence[RequestFrame],
    statistics: Mapping[str, float],
) -> RetrainingRequest:
    """Write a request below ``folder``, whole or not at all; its name is the time.

    ``labels`` are the model's classes, in its order.
    """
    path = folder / time.strftime("%Y%m%d-%H%M%S")
    with new_folder(path) as temporary:
        write_labelled_scene(temporary / SCENE, labels, frames)
        document = {"model": model, "reasons": list(reasons), "statistics": dict(statistics), "frames": len(frames)}
        write_json(temporary / _DESCRIPTION, document | {"state": OPEN, "created_s": int(time.time()), "result": {}})
    return read_request(path)


def write_labelled_scene(scene: Path, labels: Sequence[str], frames: Sequence[RequestFrame]) -> None:
    """Write frames as a BOP scene, without the lens's distortion; ``labels`` are the classes in their order."""
    object_ids = {name: number for number, name in bop_names(labels).items()}
    scene.mkdir(parents=True)
    for number, frame in enumerate(frames):
        write_image(_made(scene / "rgb" / f"{number:06d}.png"), undistorted_image(frame.rgb, frame.camera))
        if frame.depth_m is not None:
            depth_m = undistorted_depth(frame.depth_m, frame.camera)
            write_depth(_made(scene / "depth" / f"{number:06d}.png"), depth_m)
    write_json(scene / "scene_camera.json", {str(n): _camera(frame.camera) for n, frame in enumerate(frames)})
    truths = {str(n): [_truth(pose, object_ids) for pose in f.poses] for n, f in enumerate(frames)}
    infos = {str(n): [_info(pose, f.camera) for pose in f.poses] for n, f in enumerate(frames)}
    write_json(scene / "scene_gt.json", truths)
    write_json(scene / "scene_gt_info.json", infos)


def read_request(path: Path) -> RetrainingRequest:
    """Read a request; raises ``DataError`` where the folder holds none."""
    try:
        document = json.loads((path / _DESCRIPTION).read_text())
        return RetrainingRequest(
            path,
            str(document["model"]),
            tuple(map(str, document["reasons"])),
            str(document["state"]),
            int(document["frames"]),
            dict(document["result"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no retraining request: {error}", "name a folder that the monitor wrote") from error


def open_requests(folder: Path) -> list[RetrainingRequest]:
    """Return a request, or those of a folder that are still open, the oldest first."""
    if (folder / _DESCRIPTION).exists():
        return [read_request(folder)]
    found = [read_request(item.parent) for item in sorted(folder.glob(f"*/{_DESCRIPTION}"))]
    return [item for item in found if item.state == OPEN]


def _made(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return path


def _camera(camera: Camera) -> dict[str, Any]:
    return {"cam_K": camera.matrix.ravel().tolist(), "depth_scale": 1.0}


def _truth(pose: ObjectPose | ObjectTruth, object_ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "obj_id": object_ids[pose.class_name],
        "cam_R_m2c": pose.T_camera_object[:3, :3].ravel().tolist(),
        "cam_t_m2c": (_MM_PER_M * pose.T_camera_object[:3, 3]).tolist(),
    }


def _info(pose: ObjectPose | ObjectTruth, camera: Camera) -> dict[str, Any]:
    left, top, right, bottom = camera.undistort(pose.box_xyxy.reshape(2, 2)).ravel().tolist()
    seen = float(np.clip(pose.visibility, 0.0, 1.0)) if np.isfinite(pose.visibility) else 1.0
    return {"bbox_visib": [left, top, right - left, bottom - top], "visib_fract": seen}
