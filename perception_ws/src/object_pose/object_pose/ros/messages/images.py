"""Frames to the three messages of a camera; ``io.messages`` and ``io.camera_info`` read them back."""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header

from object_pose.core.arrays import DepthImage
from object_pose.core.arrays import Image as RgbImage
from object_pose.core.frame import NS_PER_S
from object_pose.core.geometry.camera import Camera
from object_pose.io.camera_info import info_of_camera, message_fields
from object_pose.io.images import depth_in_millimetres


def make_header(stamp_ns: int, frame_id: str) -> Header:
    """Return a header."""
    return Header(stamp=Time(sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S), frame_id=frame_id)


def rgb_to_message(image: RgbImage, header: Header) -> Image:
    """Return an 'rgb8' message of an (H, W, 3) uint8 image."""
    return _message(image, "rgb8", header)


def depth_to_message(depth_m: DepthImage, header: Header, encoding: str = "16UC1") -> Image:
    """Return a '16UC1' (millimetres) or '32FC1' (metres) message of (H, W) float32 metres (REP-118)."""
    if encoding == "32FC1":
        return _message(np.asarray(depth_m, dtype=np.float32), encoding, header)
    return _message(depth_in_millimetres(depth_m), "16UC1", header)


def camera_to_message(camera: Camera, header: Header) -> CameraInfo:
    """Return the camera_info of a camera."""
    return CameraInfo(header=header, **message_fields(info_of_camera(camera), RegionOfInterest))


def _message(pixels: NDArray[np.generic], encoding: str, header: Header) -> Image:
    pixels = np.ascontiguousarray(pixels)
    # rclpy takes an array('B') as it is; an ndarray or a list costs it tens of milliseconds.
    data = array("B")
    data.frombytes(pixels.data.cast("B"))
    return Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0],
        data=data,
    )
