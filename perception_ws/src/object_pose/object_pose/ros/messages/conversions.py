"""Detections, poses, rejections and truths to messages, and back where ``io.messages`` does not do it."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion, Transform, TransformStamped, Vector3
from numpy.typing import NDArray
from object_pose_msgs.msg import KeypointDetection, KeypointDetectionArray, ObjectPoseArray, ObjectTruthArray
from object_pose_msgs.msg import ObjectPose as ObjectPoseMessage
from object_pose_msgs.msg import ObjectTruth as ObjectTruthMessage
from object_pose_msgs.msg import PoseRejection as PoseRejectionMessage
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import (
    BoundingBox2D,
    BoundingBox3D,
    Detection2D,
    Detection2DArray,
    Detection3D,
    Detection3DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    Pose2D,
    VisionInfo,
)

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.results.detections import Detections, VisibleMasks
from object_pose.core.results.pose import ObjectPose, ObjectTruth, PoseRejection, PoseResults
from object_pose.io.messages import pose_from_message
from object_pose.runtime.card import ModelCard
from object_pose.runtime.roi_head import KnownBoxes

_NOT_IN_MESSAGE = float("nan")


def pose_to_message(transform: Array) -> Pose:
    """Return the pose of a (4, 4) transform."""
    w, x, y, z = se3.quat_wxyz_from_rotation(transform[:3, :3]).tolist()
    return Pose(position=_point(transform[:3, 3]), orientation=Quaternion(x=x, y=y, z=z, w=w))


def keypoints_to_message(
    detections: Detections, labels: Sequence[str], header: Header, image_wh: tuple[int, int]
) -> KeypointDetectionArray:
    """Return the detections with keypoints; ``labels`` names the class ids."""
    groups = _message_groups(detections.candidate_ids)
    return KeypointDetectionArray(
        header=header,
        image_width=image_wh[0],
        image_height=image_wh[1],
        detections=[
            KeypointDetection(
                class_id=int(class_id),
                class_name=labels[class_id],
                score=float(score),
                box_xyxy=box,
                keypoints_x=array("d", keypoints[:, 0].tolist()),
                keypoints_y=array("d", keypoints[:, 1].tolist()),
                keypoints_sigma=array("d", sigmas.tolist()),
                group=int(group),
                mask=array("B", np.rint(255.0 * probabilities).astype(np.uint8).tobytes()),
                mask_window=window,
            )
            for class_id, score, box, keypoints, sigmas, group, probabilities, window in zip(
                detections.class_ids,
                detections.scores,
                detections.boxes_xyxy,
                detections.keypoints,
                detections.keypoint_sigmas,
                groups,
                detections.masks.probabilities,
                detections.masks.windows,
            )
        ],
    )


def _message_groups(candidate_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the candidates (N,) of several hypotheses from 1 on; 0 is for a detection without alternatives."""
    _, members, sizes = np.unique(candidate_ids, return_inverse=True, return_counts=True)
    numbers = np.cumsum(sizes > 1) * (sizes > 1)
    return np.asarray(numbers[members])


def keypoints_from_message(message: KeypointDetectionArray, keypoint_count: int) -> Detections:
    """Return the detections of a message.

    Raises ``ValueError`` where one has not ``keypoint_count`` keypoints, or masks are not square and of one size.
    """
    found = message.detections
    if not found:
        return Detections.empty(keypoint_count)
    keypoints = np.array([[item.keypoints_x, item.keypoints_y] for item in found], dtype=np.float64)
    if keypoints.shape[2] != keypoint_count:
        raise ValueError(f"detections have {keypoints.shape[2]} keypoints, expected {keypoint_count}")
    return Detections(
        np.array([item.box_xyxy for item in found], dtype=np.float64),
        np.array([item.score for item in found], dtype=np.float64),
        np.array([item.class_id for item in found], dtype=np.int64),
        np.ascontiguousarray(keypoints.transpose(0, 2, 1)),
        np.array([item.keypoints_sigma for item in found], dtype=np.float64),
        np.array([item.group or -1 - index for index, item in enumerate(found)], dtype=np.int64),
        _masks_from_message(message),
    )


def _masks_from_message(message: KeypointDetectionArray) -> VisibleMasks:
    found = message.detections
    sizes = {len(item.mask) for item in found}
    cells = math.isqrt(max(sizes))
    if sizes != {cells**2}:
        raise ValueError(f"masks must be square and of one size, got lengths {sorted(sizes)}")
    probabilities = np.stack([np.asarray(item.mask, dtype=np.float32).reshape(cells, cells) for item in found])
    windows = np.array([item.mask_window for item in found], dtype=np.float64)
    return VisibleMasks(probabilities / np.float32(255.0), windows)


def detections_2d_to_message(detections: Detections, labels: Sequence[str], header: Header) -> Detection2DArray:
    """Return the likeliest detections as vision_msgs, class names as ids; they have no pose: it stays the default."""
    detections = detections.likeliest()
    return Detection2DArray(
        header=header,
        detections=[
            Detection2D(
                header=header,
                results=[
                    ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id=labels[class_id], score=float(score)))
                ],
                bbox=_box_2d(box),
            )
            for class_id, score, box in zip(detections.class_ids, detections.scores, detections.boxes_xyxy)
        ],
    )


def boxes_to_message(poses: Sequence[ObjectPose], header: Header) -> Detection2DArray:
    """Return where poses are in the image; their pose itself stays the default."""
    return Detection2DArray(
        header=header,
        detections=[
            Detection2D(
                header=header,
                id=str(pose.track_id),
                results=[
                    ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id=pose.class_name, score=pose.score))
                ],
                bbox=_box_2d(pose.box_xyxy),
            )
            for pose in poses
        ],
    )


def boxes_from_message(message: Detection2DArray, labels: Sequence[str]) -> KnownBoxes:
    """Return the boxes of those objects whose classes are among ``labels``."""
    found = [item for item in message.detections if item.results[0].hypothesis.class_id in labels]
    centers = np.array([[item.bbox.center.position.x, item.bbox.center.position.y] for item in found]).reshape(-1, 2)
    half = 0.5 * np.array([[item.bbox.size_x, item.bbox.size_y] for item in found]).reshape(-1, 2)
    class_ids = np.array([labels.index(item.results[0].hypothesis.class_id) for item in found], dtype=np.int64)
    return KnownBoxes(np.concatenate([centers - half, centers + half], axis=1), class_ids)


def detections_3d_to_message(poses: Sequence[ObjectPose], header: Header) -> Detection3DArray:
    """Return the poses as vision_msgs: class name, score, pose with covariance, metric box, track id."""
    return Detection3DArray(
        header=header,
        detections=[
            Detection3D(
                header=header,
                id=str(pose.track_id) if pose.track_id >= 0 else "",
                bbox=_box_3d(pose),
                results=[
                    ObjectHypothesisWithPose(
                        hypothesis=ObjectHypothesis(class_id=pose.class_name, score=pose.score),
                        pose=_pose_with_covariance(pose),
                    )
                ],
            )
            for pose in poses
        ],
    )


def detections_3d_from_message(message: Detection3DArray, class_names: Sequence[str]) -> tuple[ObjectPose, ...]:
    """Return the poses of a message; what vision_msgs has no place for is NaN, an unknown class has id -1.

    An id that is no number, as another publisher may have it, is none.
    """
    return tuple(_pose_from_detection(detection, class_names) for detection in message.detections if detection.results)


def results_to_message(results: PoseResults, header: Header, dropped_frames: int = 0) -> ObjectPoseArray:
    """Return the poses and rejections of a frame."""
    return ObjectPoseArray(
        header=header,
        dropped_frames=dropped_frames,
        poses=[_object_pose(pose) for pose in results.poses],
        rejections=[_rejection(rejection) for rejection in results.rejections],
    )


def truths_to_message(truths: Sequence[ObjectTruth], header: Header) -> ObjectTruthArray:
    """Return the true objects of a frame."""
    return ObjectTruthArray(
        header=header,
        objects=[
            ObjectTruthMessage(
                class_id=truth.class_id,
                class_name=truth.class_name,
                pose=pose_to_message(truth.T_camera_object),
                visibility=float(truth.visibility),
                box_xyxy=np.asarray(truth.box_xyxy, dtype=np.float64),
            )
            for truth in truths
        ],
    )


def transform_to_message(transform: Array) -> Transform:
    """Return the message of a (4, 4) transform."""
    w, x, y, z = se3.quat_wxyz_from_rotation(transform[:3, :3]).tolist()
    return Transform(translation=_vector(transform[:3, 3]), rotation=Quaternion(x=x, y=y, z=z, w=w))


def transforms_to_message(poses: Sequence[ObjectPose], header: Header, namespace: str = "/") -> TFMessage:
    """Return the tracked poses as transforms from the camera's frame to frames named like 'gear_3'.

    /tf is common to all namespaces, so that their names precede these: 'cell/gear_3'.
    """
    prefix = f"{namespace}/".lstrip("/")
    return TFMessage(
        transforms=[
            TransformStamped(
                header=header,
                child_frame_id=f"{prefix}{pose.class_name}_{pose.track_id}",
                transform=transform_to_message(pose.T_camera_object),
            )
            for pose in poses
            if pose.track_id >= 0
        ]
    )


def camera_transform(T_parent_camera: Array, header: Header, camera_frame_id: str) -> TFMessage:
    """Return where the camera stands in the frame of ``header``."""
    transform = transform_to_message(T_parent_camera)
    return TFMessage(transforms=[TransformStamped(header=header, child_frame_id=camera_frame_id, transform=transform)])


def vision_info(card: ModelCard, model_path: str, header: Header) -> VisionInfo:
    """Return what finds the objects; its database is JSON: their names in the order of the ids, and the model file."""
    method = " ".join(filter(None, ("object_pose", card.name, card.version)))
    database = json.dumps({"class_names": list(card.labels), "model": model_path}, ensure_ascii=False)
    return VisionInfo(header=header, method=method, database_location=database)


def _point(xyz: Array) -> Point:
    x, y, z = xyz.tolist()
    return Point(x=x, y=y, z=z)


def _vector(xyz: Array) -> Vector3:
    x, y, z = np.asarray(xyz, dtype=np.float64).tolist()
    return Vector3(x=x, y=y, z=z)


def _pose_with_covariance(pose: ObjectPose) -> PoseWithCovariance:
    return PoseWithCovariance(
        pose=pose_to_message(pose.T_camera_object),
        covariance=np.ascontiguousarray(pose.covariance, dtype=np.float64).ravel(),
    )


def _box_2d(box_xyxy: Array) -> BoundingBox2D:
    left, top, right, bottom = box_xyxy.tolist()
    center = Pose2D(position=Point2D(x=(left + right) / 2.0, y=(top + bottom) / 2.0))
    return BoundingBox2D(center=center, size_x=right - left, size_y=bottom - top)


def _box_3d(pose: ObjectPose) -> BoundingBox3D:
    T_camera_box = pose.T_camera_object @ se3.make_transform(translation=pose.box_center)
    return BoundingBox3D(center=pose_to_message(T_camera_box), size=_vector(pose.box_size))


def _object_pose(pose: ObjectPose) -> ObjectPoseMessage:
    return ObjectPoseMessage(
        class_id=pose.class_id,
        class_name=pose.class_name,
        score=pose.score,
        pose=_pose_with_covariance(pose),
        box=_box_3d(pose),
        box_xyxy=np.asarray(pose.box_xyxy, dtype=np.float64),
        reprojection_rms_px=float(pose.reprojection_rms_px),
        depth_rms_m=float(pose.depth_rms_m),
        visibility=float(pose.visibility),
        depth_used=bool(pose.depth_used),
        track_id=pose.track_id,
        track_age=pose.track_age,
    )


def _rejection(rejection: PoseRejection) -> PoseRejectionMessage:
    return PoseRejectionMessage(
        class_id=rejection.class_id,
        class_name=rejection.class_name,
        score=float(rejection.score),
        box_xyxy=np.asarray(rejection.box_xyxy, dtype=np.float64),
        reason=rejection.reason.value,
        detail=rejection.detail,
    )


def _pose_from_detection(detection: Detection3D, class_names: Sequence[str]) -> ObjectPose:
    best = max(detection.results, key=lambda result: result.hypothesis.score)
    name, size = best.hypothesis.class_id, detection.bbox.size
    T_camera_object = pose_from_message(best.pose.pose)
    T_object_box = se3.inverse(T_camera_object) @ pose_from_message(detection.bbox.center)
    return ObjectPose(
        class_id=class_names.index(name) if name in class_names else -1,
        class_name=name,
        score=best.hypothesis.score,
        T_camera_object=T_camera_object,
        covariance=np.array(best.pose.covariance, dtype=np.float64).reshape(6, 6),
        box_center=T_object_box[:3, 3],
        box_size=np.array([size.x, size.y, size.z]),
        box_xyxy=np.full(4, _NOT_IN_MESSAGE),
        reprojection_rms_px=_NOT_IN_MESSAGE,
        depth_rms_m=_NOT_IN_MESSAGE,
        visibility=_NOT_IN_MESSAGE,
        depth_used=False,
        track_id=int(detection.id) if detection.id.isdecimal() else -1,
    )
