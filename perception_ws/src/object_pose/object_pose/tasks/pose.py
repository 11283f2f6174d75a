"""Keypoints of objects whose geometry is known, and how good the 6-DoF poses are that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import DepthImage
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.metrics.pose import MIN_VISIBILITY, match_frame, score_frames
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.config import LIVE, SINGLE_IMAGE
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import Detections, DetectionsJson
from object_pose.core.results.pose import ObjectTruth, PoseJson, PoseResults, RejectionJson
from object_pose.core.vision.decoders import Layout
from object_pose.core.vision.drawing import draw_detections
from object_pose.tasks.detect import check_detector, decode_detections, summarise_detections
from object_pose.tasks.task import Task, prepare_rgb


class PoseFrameJson(DetectionsJson, total=False):
    """Keypoints, and the poses from them where the model knows its objects' geometry."""

    poses: list[PoseJson]
    rejections: list[RejectionJson]


@dataclass(frozen=True)
class PoseTruth:
    """What is true of a frame, and what solving its poses takes: camera, depth in metres if any, object models."""

    truths: tuple[ObjectTruth, ...]
    objects: tuple[ObjectModel, ...]
    camera: Camera
    depth_m: DepthImage | None = None


def true_detections(truth: PoseTruth, min_visibility: float = MIN_VISIBILITY) -> Detections:
    """Return what a perfect network would find: visible objects' boxes and projected keypoints, sure to a pixel."""
    seen = [item for item in truth.truths if item.visibility >= min_visibility]
    keypoint_count = len(truth.objects[0].keypoints_object)
    keypoints = np.zeros((len(seen), keypoint_count, 2))
    for row, item in zip(keypoints, seen):
        model = truth.objects[item.class_id]
        pose = model.symmetry.canonical(item.T_camera_object)
        row[:] = truth.camera.project(se3.apply(pose, model.keypoints_object))
    return Detections(
        np.array([item.box_xyxy for item in seen]).reshape(-1, 4),
        np.ones(len(seen)),
        np.array([item.class_id for item in seen], dtype=np.int64),
        keypoints,
        np.ones((len(seen), keypoint_count)),
    )


def summarise_poses(results: PoseResults) -> str:
    """Return class, score and position of each pose, and why detections were rejected."""
    poses = "; ".join(
        f"{pose.class_name} {pose.score:.2f} at ({', '.join(f'{v:.3f}' for v in pose.T_camera_object[:3, 3])}) m"
        for pose in results.poses
    )
    rejected = "".join(f" [{item.class_name} rejected: {item.reason.value}]" for item in results.rejections)
    return f"{poses or 'nothing'}{rejected}"


def _score(results: Sequence[Detections], truths: Sequence[PoseTruth], labels: tuple[str, ...]) -> dict[str, float]:
    """Solve every frame's poses from its keypoints and compare those that a planner gets with the truth."""
    matches = []
    solvers: dict[int, PoseSolver] = {}  # making one costs more than solving a frame
    for detections, truth in zip(results, truths):
        key = id(truth.objects)
        if key not in solvers:
            solvers[key] = PoseSolver(truth.objects, SINGLE_IMAGE.solver)
        solved = solvers[key].solve(detections, truth.camera, truth.depth_m)
        matches.append(match_frame(solved.poses, truth.truths, truth.objects).above(LIVE.solver.acceptance.min_score))
    score = score_frames(matches)
    return {
        "recall_add_01d": score.recall_add_01d,
        "precision": score.precision,
        "translation_error_mm_p50": score.translation_error_mm_p50,
        "rotation_error_deg_p50": score.rotation_error_deg_p50,
    }


POSE = Task[Detections, PoseTruth](
    name="pose",
    summary="keypoints of known objects, for 6-DoF poses",
    layouts=(Layout.OBJECT_POSE_KEYPOINTS, Layout.YOLOV8_POSE, Layout.END_TO_END_POSE),
    metric="recall_add_01d",
    json_type=PoseFrameJson,
    default_model="parts.onnx",
    prepare=prepare_rgb,
    decode=decode_detections,
    to_json=Detections.to_json,
    summarise=summarise_detections,
    draw=draw_detections,
    score=_score,
    check=check_detector,
    options=LIVE.decoding,
    scored_options=SINGLE_IMAGE.decoding,
)
