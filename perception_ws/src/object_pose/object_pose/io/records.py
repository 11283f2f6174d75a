"""Results as plain JSON values: one vocabulary for files, the command line and HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults
from object_pose.tasks.detect import describe_detections


def frame_record(
    name: str,
    stamp_ns: int,
    labels: Sequence[str],
    detections: Detections,
    results: PoseResults | None = None,
    timings_ms: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Describe one frame; without ``results`` only its detections. SI units unless the key says otherwise."""
    record: dict[str, Any] = {"name": name, "stamp_ns": stamp_ns, **describe_detections(detections, tuple(labels))}
    if results is not None:
        record["poses"] = [pose_record(pose) for pose in results.poses]
        record["rejections"] = [rejection_record(rejection) for rejection in results.rejections]
    if timings_ms is not None:
        record["timings_ms"] = {stage: round(value, 3) for stage, value in timings_ms.items()}
    return record


def pose_record(pose: ObjectPose) -> dict[str, Any]:
    """Describe a pose in the camera's optical frame; numbers that are not finite become null."""
    return {
        "class_id": pose.class_id,
        "class_name": pose.class_name,
        "score": _number(pose.score, 4),
        "position": _numbers(pose.T_camera_object[:3, 3], 6),
        "quat_wxyz": _numbers(se3.quat_wxyz_from_rotation(pose.T_camera_object[:3, :3]), 6),
        "covariance": [_numbers(row, None) for row in pose.covariance],
        "box_center": _numbers(pose.box_center, 6),
        "box_size": _numbers(pose.box_size, 6),
        "box_xyxy": _numbers(pose.box_xyxy, 2),
        "reprojection_rms_px": _number(pose.reprojection_rms_px, 4),
        "depth_rms": _number(pose.depth_rms_m, 6),
        "visibility": _number(pose.visibility, 4),
        "depth_used": bool(pose.depth_used),
        "track_id": pose.track_id,
        "track_age": pose.track_age,
    }


def rejection_record(rejection: PoseRejection) -> dict[str, Any]:
    """Describe a detection that did not become a pose, and why."""
    return {
        "class_id": rejection.class_id,
        "class_name": rejection.class_name,
        "score": _number(rejection.score, 4),
        "box_xyxy": _numbers(rejection.box_xyxy, 2),
        "reason": rejection.reason.value,
        "detail": rejection.detail,
    }


def _number(value: float, digits: int | None) -> float | None:
    if not math.isfinite(value):
        return None
    return float(value) if digits is None else round(float(value), digits)


def _numbers(values: Array, digits: int | None) -> list[float | None]:
    return [_number(value, digits) for value in values]
