"""Camera frames: colour, depth and the camera that took them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from object_pose.core.arrays import DepthImage, Image, expect_shape
from object_pose.core.geometry.camera import Camera

NS_PER_S = 1_000_000_000  # of a stamp


@dataclass(frozen=True)
class Frame:
    """One camera frame: ``rgb`` (H, W, 3) uint8, ``depth_m`` (H, W) float32 metres along z (0 = none) or None."""

    rgb: Image
    camera: Camera
    depth_m: DepthImage | None = None
    stamp_ns: int = 0

    def __post_init__(self) -> None:
        height, width = self.camera.height, self.camera.width
        expect_shape("rgb", self.rgb, (height, width, 3))
        if self.depth_m is not None:
            expect_shape("depth_m", self.depth_m, (height, width))

    @property
    def aligned_depth(self) -> AlignedDepth | None:
        """The frame's depth with its camera, if it has any."""
        return AlignedDepth(self.depth_m, self.camera) if self.depth_m is not None else None


class CameraFrame(Protocol):
    """A frame as estimators read it: a ``Frame``, or one whose colour is decoded when it is first asked for.

    ``rgb`` is None where no colour image came or it is of no use.
    """

    @property
    def rgb(self) -> Image | None:
        """Colour (H, W, 3) uint8."""

    @property
    def camera(self) -> Camera:
        """The camera of colour and depth."""

    @property
    def depth_m(self) -> DepthImage | None:
        """Depth (H, W) float32 in metres, 0 where nothing was measured."""

    @property
    def stamp_ns(self) -> int:
        """When the frame was taken."""


@dataclass(frozen=True)
class AlignedDepth:
    """Depth that belongs to a colour image: ``depth_m`` (H, W) float32 metres along z, 0 = none, and their camera."""

    depth_m: DepthImage
    camera: Camera

    def __post_init__(self) -> None:
        expect_shape("depth_m", self.depth_m, (self.camera.height, self.camera.width))
