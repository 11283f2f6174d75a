"""Poses of objects in one image, the detections that did not become one, and the truth they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, TypedDict

import numpy as np

from object_pose.core.arrays import Array, expect_shape
from object_pose.core.geometry import se3
from object_pose.core.results.schema import (
    BoxXyxy,
    ClassId,
    Number,
    Score,
    Vector,
    from_number,
    from_numbers,
    number,
    numbers,
)


class RejectionReason(str, Enum):
    """Why a detection did not become a pose, or a tracked object is not where it was: ``LOST``."""

    TOO_FEW_KEYPOINTS = "too_few_keypoints"
    PNP_FAILED = "pnp_failed"
    REPROJECTION_ERROR = "reprojection_error"
    BEHIND_CAMERA = "behind_camera"
    DEPTH_DISAGREES = "depth_disagrees"
    DUPLICATE = "duplicate"
    UNCERTAIN = "uncertain"
    LOST = "lost"


# Reasons by which a tracked object is not where it was: the image says so, or another one is there.
CONTRADICTING = (RejectionReason.LOST, RejectionReason.DUPLICATE)


class PoseJson(TypedDict):
    """One pose in the camera's optical frame; see ``ObjectPose``."""

    class_id: ClassId
    class_name: str
    score: Score
    position: Vector
    quat_wxyz: Annotated[list[Number], {"minItems": 4, "maxItems": 4}]
    covariance: Annotated[
        list[Annotated[list[Number], {"minItems": 6, "maxItems": 6}]],
        {"minItems": 6, "maxItems": 6, "description": "of translation and rotation vector: m^2, m rad, rad^2"},
    ]
    box_center: Vector
    box_size: Vector
    box_xyxy: BoxXyxy
    reprojection_rms_px: Number
    depth_rms_m: Number
    visibility: Score
    depth_used: bool
    track_id: Annotated[int, {"description": "-1 without a tracker"}]
    track_age: int


class RejectionJson(TypedDict):
    """A detection that did not become a pose, and why."""

    class_id: ClassId
    class_name: str
    score: Score
    box_xyxy: BoxXyxy
    reason: Annotated[str, {"enum": [reason.value for reason in RejectionReason]}]
    detail: str


class PoseResultsJson(TypedDict):
    """The poses of a frame, and what was rejected."""

    poses: list[PoseJson]
    rejections: list[RejectionJson]


@dataclass(frozen=True)
class PoseRejection:
    """A detection, or the track ``track_id``, whose pose was not trusted; published and counted, never hidden."""

    class_id: int
    class_name: str
    score: float
    box_xyxy: Array
    reason: RejectionReason
    detail: str = ""
    track_id: int = -1

    def __post_init__(self) -> None:
        expect_shape("box_xyxy", self.box_xyxy, (4,))

    def to_json(self) -> RejectionJson:
        """Return the rejection as JSON values."""
        return {
            "class_id": self.class_id,
            "class_name": self.class_name,
            "score": number(self.score, 4),
            "box_xyxy": numbers(self.box_xyxy, 2),
            "reason": self.reason.value,
            "detail": self.detail,
        }

    @staticmethod
    def from_json(record: RejectionJson) -> PoseRejection:
        """Return what ``to_json`` wrote, to its digits."""
        return PoseRejection(
            record["class_id"],
            record["class_name"],
            from_number(record["score"]),
            np.array(from_numbers(record["box_xyxy"])),
            RejectionReason(record["reason"]),
            record["detail"],
        )


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
        for name, length in (("box_center", 3), ("box_size", 3), ("box_xyxy", 4)):
            expect_shape(name, getattr(self, name), (length,))
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score must be in [0, 1], got {self.score}")

    def to_json(self) -> PoseJson:
        """Return the pose as JSON values; numbers that are not finite become None."""
        return {
            "class_id": self.class_id,
            "class_name": self.class_name,
            "score": number(self.score, 4),
            "position": numbers(self.T_camera_object[:3, 3], 6),
            "quat_wxyz": numbers(se3.quat_wxyz_from_rotation(self.T_camera_object[:3, :3]), 6),
            "covariance": [numbers(row) for row in self.covariance],
            "box_center": numbers(self.box_center, 6),
            "box_size": numbers(self.box_size, 6),
            "box_xyxy": numbers(self.box_xyxy, 2),
            "reprojection_rms_px": number(self.reprojection_rms_px, 4),
            "depth_rms_m": number(self.depth_rms_m, 6),
            "visibility": number(self.visibility, 4),
            "depth_used": bool(self.depth_used),
            "track_id": self.track_id,
            "track_age": self.track_age,
        }

    def in_frame(self, T_frame_camera: Array) -> ObjectPose:
        """Return the pose in another frame than the camera's, such as a robot's base, with its covariance turned there.

        ``T_camera_object`` of the result takes points of the object to that frame.
        """
        turn = np.kron(np.eye(2), T_frame_camera[:3, :3])
        return replace(
            self, T_camera_object=T_frame_camera @ self.T_camera_object, covariance=turn @ self.covariance @ turn.T
        )

    @staticmethod
    def from_json(record: PoseJson) -> ObjectPose:
        """Return what ``to_json`` wrote, to its digits; None becomes NaN."""
        rotation = se3.rotation_from_quat_wxyz(np.array(from_numbers(record["quat_wxyz"])))
        return ObjectPose(
            class_id=record["class_id"],
            class_name=record["class_name"],
            score=from_number(record["score"]),
            T_camera_object=se3.make_transform(rotation, np.array(from_numbers(record["position"]))),
            covariance=np.array([from_numbers(row) for row in record["covariance"]]),
            box_center=np.array(from_numbers(record["box_center"])),
            box_size=np.array(from_numbers(record["box_size"])),
            box_xyxy=np.array(from_numbers(record["box_xyxy"])),
            reprojection_rms_px=from_number(record["reprojection_rms_px"]),
            depth_rms_m=from_number(record["depth_rms_m"]),
            visibility=from_number(record["visibility"]),
            depth_used=record["depth_used"],
            track_id=record["track_id"],
            track_age=record["track_age"],
        )


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
class ImageOffset:
    """How far the image shows an object from where its pose has it that depth gave, in undistorted pixels.

    ``center_px`` (2,) is where the pose has it, ``offset_px`` (2,) how far from there the image does, of ``sigma_px``
    along each axis, which is infinite where only a part of the object is seen. ``is_certain`` says that the object
    alone is evidence of it. ``log_scale`` is the log of its distance by keypoints over that by depth.
    """

    center_px: Array
    offset_px: Array
    sigma_px: float
    is_certain: bool = False
    log_scale: float = 0.0
    log_scale_sigma: float = np.inf


@dataclass(frozen=True)
class PoseResults:
    """Everything the pose head says about one frame; ``image_offsets`` are of the poses that depth confirms."""

    poses: tuple[ObjectPose, ...]
    rejections: tuple[PoseRejection, ...]
    image_offsets: tuple[ImageOffset, ...] = ()

    def to_json(self, labels: Sequence[str] = ()) -> PoseResultsJson:
        """Return poses and rejections; they name their classes themselves, so ``labels`` are not needed."""
        return {
            "poses": [pose.to_json() for pose in self.poses],
            "rejections": [rejection.to_json() for rejection in self.rejections],
        }

    @staticmethod
    def from_json(record: PoseResultsJson) -> PoseResults:
        """Return what ``to_json`` wrote, to its digits."""
        return PoseResults(
            tuple(ObjectPose.from_json(item) for item in record["poses"]),
            tuple(PoseRejection.from_json(item) for item in record["rejections"]),
        )
