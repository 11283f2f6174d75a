"""A live frame as JSON, as a JPEG picture and as a point cloud."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from object_pose.core.arrays import Array, Image
from object_pose.core.errors import DataError
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import undistorted_image
from object_pose.core.results.pose import ObjectPose, PoseResults
from object_pose.core.results.schema import numbers
from object_pose.core.vision.drawing import draw_poses
from object_pose.io.images import encode_image
from object_pose.web.live.hub import ShownFrame

_EMPTY = PoseResults((), ())


def frame_event(shown: ShownFrame) -> dict[str, Any]:
    """Return what changes from frame to frame: poses in the camera's frame, rejections, the camera's place."""
    live = shown.live
    results = live.results or _EMPTY
    return {
        "sequence": shown.sequence,
        "stamp_ns": str(shown.stamp_ns),  # more digits than JavaScript's numbers have
        "latency_ms": None if live.latency_ms is None else round(live.latency_ms, 2),
        "poses": [
            *(_pose(pose, "tracked" if pose.track_age > 1 else "registered") for pose in results.poses),
            *(_pose(pose, "lost") for pose in shown.lost),
        ],
        "rejections": [
            {
                "class_name": item.class_name,
                "score": round(item.score, 4),
                "box_2d": numbers(item.box_xyxy, 1),
                "reason": item.reason.value,
                "detail": item.detail,
            }
            for item in results.rejections
        ],
        "T_base_camera": None if live.T_base_camera is None else [numbers(row, 6) for row in live.T_base_camera],
    }


def frame_description(shown: ShownFrame) -> dict[str, Any]:
    """Return what stays from frame to frame: the frame_id, and the ideal pinhole whose pictures are shown."""
    camera = shown.live.frame.camera
    return {
        "stamp_ns": str(shown.stamp_ns),
        "frame_id": shown.live.frame_id,
        "size_wh": list(camera.wh),
        "K": camera.matrix.tolist(),
        "T_base_camera": frame_event(shown)["T_base_camera"],
    }


def picture(shown: ShownFrame, width: int = 0, quality: int = 90, annotated: bool = False) -> bytes:
    """Return the frame as JPEG, without lens distortion; ``width`` makes it smaller, never larger.

    Raises ``DataError`` where the frame has no colour.
    """
    rgb = ideal_rgb(shown)
    if annotated:
        results = shown.live.results or _EMPTY
        rgb = draw_poses(_colour(shown), results.poses, shown.live.frame.camera, results.rejections)
    if 0 < width < rgb.shape[1]:
        height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return encode_image(rgb, ".jpg", quality)


def ideal_rgb(shown: ShownFrame) -> Image:
    """Return the colour image (H, W, 3) as the ideal pinhole sees it; raises ``DataError`` where there is none."""
    return undistorted_image(_colour(shown), shown.live.frame.camera)


def cloud(shown: ShownFrame, points: int) -> bytes:
    """Return at most so many points of the depth image, evenly over the image, nothing where there is no depth.

    Little endian: uint32 n, n * 3 float32 xyz in metres in the camera's frame, n * 3 uint8 rgb.
    """
    frame = shown.live.frame
    depth_m, rgb, camera = frame.depth_m, frame.rgb, frame.camera
    if depth_m is None:
        return struct.pack("<I", 0)
    stride = max(1, int(np.ceil(np.sqrt(depth_m.size / max(points, 1)))))
    rows, columns = np.mgrid[: camera.height : stride, : camera.width : stride]
    rows, columns = rows.ravel(), columns.ravel()
    z = depth_m[rows, columns]
    is_measured = np.isfinite(z) & (z > 0.0)
    rows, columns, z = rows[is_measured], columns[is_measured], z[is_measured]
    pixels: Array = camera.undistort(np.stack([columns, rows], axis=1).astype(np.float64))
    xyz = camera.backproject(pixels, z.astype(np.float64)).astype("<f4")
    colours = np.full((len(z), 3), 160, np.uint8) if rgb is None else np.ascontiguousarray(rgb[rows, columns])
    return struct.pack("<I", len(z)) + xyz.tobytes() + colours.tobytes()


def _colour(shown: ShownFrame) -> Image:
    rgb = shown.live.frame.rgb
    if rgb is None:
        raise DataError("the frame has no colour image")
    return rgb


def _pose(pose: ObjectPose, state: str) -> dict[str, Any]:
    w, x, y, z = numbers(se3.quat_wxyz_from_rotation(pose.T_camera_object[:3, :3]), 6)
    box = numbers(pose.box_xyxy, 1)
    return {
        "id": pose.track_id,
        "class_id": pose.class_id,
        "class_name": pose.class_name,
        "score": round(pose.score, 4),
        "position": numbers(pose.T_camera_object[:3, 3], 6),
        "quat_xyzw": [x, y, z, w],
        "covariance": [float(f"{value:.4g}") for value in pose.covariance.ravel().tolist()],
        "state": state,
        "box_2d": None if None in box else box,
    }
