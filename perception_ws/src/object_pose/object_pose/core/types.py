"""The values that travel through the package, checked when they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from object_pose.core.camera import Camera
from object_pose.core.seen_masks import SeenMasks
from object_pose.core.symmetry import Symmetry

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
DepthImage = NDArray[np.float32]


def _expect(name: str, array: NDArray[np.generic], shape: tuple[int | None, ...]) -> None:
    if array.ndim != len(shape) or any(e is not None and a != e for a, e in zip(array.shape, shape)):
        wanted = ", ".join("N" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")


@dataclass(frozen=True)
class Frame:
    """One camera frame: ``rgb`` (H, W, 3) uint8, ``depth_m`` (H, W) float32 metres along z (0 = none) or None."""

    rgb: Image
    camera: Camera
    depth_m: DepthImage | None = None
    stamp_ns: int = 0

    def __post_init__(self) -> None:
        height, width = self.camera.height, self.camera.width
        _expect("rgb", self.rgb, (height, width, 3))
        if self.depth_m is not None:
            _expect("depth_m", self.depth_m, (height, width))

    @property
    def aligned_depth(self) -> AlignedDepth | None:
        """The frame's depth with its camera, if it has any."""
        return AlignedDepth(self.depth_m, self.camera) if self.depth_m is not None else None


@dataclass(frozen=True)
class AlignedDepth:
    """Depth that belongs to a colour image: ``depth_m`` (H, W) float32 metres along z, 0 = none, and their camera."""

    depth_m: DepthImage
    camera: Camera

    def __post_init__(self) -> None:
        _expect("depth_m", self.depth_m, (self.camera.height, self.camera.width))


_NO_GROUPS: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
_NO_MASKS = SeenMasks.unknown(0)


@dataclass(frozen=True)
class Detections:
    """Detections of one image, as arrays of equal length N (N may be 0).

    ``boxes_xyxy`` (N, 4) in pixels of the original image, ``scores`` (N,) in [0, 1], ``class_ids`` (N,) int,
    ``keypoints`` (N, K, 2) pixels and ``keypoint_sigmas`` (N, K) pixels, one standard deviation; K may be 0.
    ``groups`` (N,): detections of one group are readings of one object, and at most one of them is right; where none
    are given, each is an object of its own. ``masks`` are those pixels that show the object.
    """

    boxes_xyxy: Array
    scores: Array
    class_ids: NDArray[np.int64]
    keypoints: Array
    keypoint_sigmas: Array
    groups: NDArray[np.int64] = field(default_factory=lambda: _NO_GROUPS)
    masks: SeenMasks = field(default_factory=lambda: _NO_MASKS)

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.groups is _NO_GROUPS:
            object.__setattr__(self, "groups", np.arange(count))
        if self.masks is _NO_MASKS:
            object.__setattr__(self, "masks", SeenMasks.unknown(count))
        _expect("masks", self.masks.windows, (count, 3))
        _expect("groups", self.groups, (count,))
        _expect("boxes_xyxy", self.boxes_xyxy, (count, 4))
        _expect("scores", self.scores, (count,))
        _expect("class_ids", self.class_ids, (count,))
        _expect("keypoints", self.keypoints, (count, None, 2))
        _expect("keypoint_sigmas", self.keypoint_sigmas, (count, self.keypoints.shape[1]))

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Detections:
        """Return the detections that an index or mask picks."""
        return Detections(
            self.boxes_xyxy[index],
            self.scores[index],
            self.class_ids[index],
            self.keypoints[index],
            self.keypoint_sigmas[index],
            self.groups[index],
            self.masks.select(index),
        )

    def likeliest(self) -> Detections:
        """Return the best reading of each group, in the order of the detections."""
        by_score = np.argsort(-self.scores, kind="stable")
        _, firsts = np.unique(self.groups[by_score], return_index=True)
        return self.select(np.sort(by_score[firsts]))

    @staticmethod
    def join(parts: Sequence[Detections]) -> Detections:
        """Return the detections of several batches, one after the other; keypoint counts are equal, groups shared."""
        return Detections(
            np.concatenate([part.boxes_xyxy for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.class_ids for part in parts]),
            np.concatenate([part.keypoints for part in parts]),
            np.concatenate([part.keypoint_sigmas for part in parts]),
            np.concatenate([part.groups for part in parts]),
            SeenMasks.join([part.masks for part in parts]),
        )

    @staticmethod
    def empty(keypoint_count: int = 0) -> Detections:
        """Return no detections, with the shapes that a model of ``keypoint_count`` keypoints has."""
        return Detections(
            np.zeros((0, 4)),
            np.zeros(0),
            np.zeros(0, dtype=np.int64),
            np.zeros((0, keypoint_count, 2)),
            np.zeros((0, keypoint_count)),
        )


@dataclass(frozen=True)
class ObjectModel:
    """What the pose head knows of one class; object frame, metres.

    ``keypoints_object`` (K, 3) in the network's order; ``points_object`` (P, 3) and unit ``normals_object`` (P, 3)
    sample the surface evenly; the metric box is axis-aligned in the object frame. ``surface_object`` (S, 3), points so
    dense that outlines can be drawn from them, is empty in models that were exported before there was any.
    """

    name: str
    keypoints_object: Array
    points_object: Array
    normals_object: Array
    box_center: Array
    box_size: Array
    diameter: float
    symmetry: Symmetry = field(default_factory=Symmetry)
    surface_object: Array = field(default_factory=lambda: np.zeros((0, 3)))

    def __post_init__(self) -> None:
        _expect("surface_object", self.surface_object, (None, 3))
        _expect("keypoints_object", self.keypoints_object, (None, 3))
        _expect("points_object", self.points_object, (None, 3))
        _expect("normals_object", self.normals_object, (len(self.points_object), 3))
        _expect("box_center", self.box_center, (3,))
        _expect("box_size", self.box_size, (3,))
        if not self.diameter > 0:
            raise ValueError(f"diameter of {self.name} must be positive, got {self.diameter}")


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
        _expect("T_camera_object", self.T_camera_object, (4, 4))
        _expect("covariance", self.covariance, (6, 6))
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
        _expect("T_camera_object", self.T_camera_object, (4, 4))
        _expect("box_xyxy", self.box_xyxy, (4,))


@dataclass(frozen=True)
class PoseResults:
    """Everything the pose head says about one frame."""

    poses: tuple[ObjectPose, ...]
    rejections: tuple[PoseRejection, ...]
