"""Poses of objects in one image, the detections that did not become one, and the truth they are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from object_pose.core.arrays import Array, expect_shape


class RejectionReason(str, Enum):
    """Why a detection did not become a pose."""

    TOO_FEW_KEYPOINTS = "too_few_keypoints"
    PNP_FAILED = "pnp_failed"
    REPROJECTION_ERROR = "reprojection_error"
    BEHIND_CAMERA = "behind_camera"
    DEPTH_DISAGREES = "depth_disagrees"
    DUPLICATE = "duplicate"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True)
class PoseRejection:
    """A detection that was seen but whose pose was not trusted; published and counted, never hidden."""

    class_id: int
    class_name: str
    score: float
    box_xyxy: Array
    reason: RejectionReason
    detail: str = ""


@dataclass(frozen=True)
class ObjectPose:
    """One object in six degrees of freedom.

    ``T_camera_object`` (4, 4) maps object coordinates (metres) into the camera's optical frame. ``covariance`` (6, 6)
    is of (dt, dr) in t' = t + dt, R' = exp(dr) R, camera axes (REP-103 order), in m^2, m rad, rad^2.
    ``visibility`` is the share of camera-facing surface that the depth image confirms (NaN without depth).
    """

    class_id: int
    class_name: str
    score: float
    T_camera_object: Array
    covariance: Array
    box_center: Array
    box_size: Array
    box_xyxy: Array
    reprojection_rms_px: float
    depth_rms_m: float
    visibility: float
    depth_used: bool
    track_id: int = -1
    track_age: int = 0

    def __post_init__(self) -> None:
        expect_shape("T_camera_object", self.T_camera_object, (4, 4))
        expect_shape("covariance", self.covariance, (6, 6))
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score must be in [0, 1], got {self.score}")


@dataclass(frozen=True)
class ObjectTruth:
    """A ground-truth object of a frame: pose, share of its silhouette that is visible, visible box in pixels."""

    class_id: int
    class_name: str
    T_camera_object: Array
    visibility: float
    box_xyxy: Array

    def __post_init__(self) -> None:
        expect_shape("T_camera_object", self.T_camera_object, (4, 4))
        expect_shape("box_xyxy", self.box_xyxy, (4,))


@dataclass(frozen=True)
class PoseResults:
    """Everything the pose head says about one frame."""

    poses: tuple[ObjectPose, ...]
    rejections: tuple[PoseRejection, ...]
