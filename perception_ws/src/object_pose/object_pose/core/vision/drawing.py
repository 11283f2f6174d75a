"""Results drawn over images: boxes, keypoints, 3-D boxes, axes, masks and names."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image, Mask
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseRejection, RejectionReason
from object_pose.core.vision.image import to_rgb

Color = tuple[int, int, int]

_PALETTE: tuple[Color, ...] = (
    (255, 138, 61),
    (64, 196, 255),
    (122, 217, 92),
    (255, 96, 144),
    (186, 143, 255),
    (255, 214, 64),
    (38, 214, 184),
    (240, 120, 240),
)
_REJECTED: Color = (150, 150, 150)
_MOST_REJECTIONS = 3  # more of them would hide what was found
_AXES: tuple[Color, ...] = ((235, 64, 52), (76, 200, 80), (66, 133, 255))
_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if (_CORNERS[a] != _CORNERS[b]).sum() == 1]
_NEAR_M = 1e-3
_SUBPIXEL_BITS = 4
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MASK_TINT = 0.45
_NAME_STRIP_PX = 24
_GAP_PX = 4


def draw_detections(rgb: Image, detections: Detections, labels: Sequence[str]) -> Image:
    """Return a copy of an (H, W, 3) image with boxes, keypoints, names and scores of the likeliest detections."""
    canvas = Canvas(rgb)
    detections = detections.likeliest()
    for index in reversed(range(len(detections))):
        class_id = int(detections.class_ids[index])
        box = detections.boxes_xyxy[index]
        canvas.rectangle(box, class_color(class_id), 2.0)
        for point in detections.keypoints[index]:
            canvas.dot(point, class_color(class_id))
        canvas.tag(f"{labels[class_id]} {detections.scores[index]:.2f}", box[:2], class_color(class_id))
    return canvas.finish()


def draw_poses(
    rgb: Image, poses: Sequence[ObjectPose], camera: Camera, rejections: Sequence[PoseRejection] = ()
) -> Image:
    """Return a copy of an image with each pose's 3-D box, axes, name and score, far ones first.

    The likeliest rejections are drawn in grey with their reason, the others counted in the lower left corner; where one
    is a duplicate, the pose that was kept is drawn.
    """
    canvas = Canvas(rgb)
    rejections = [item for item in rejections if item.reason is not RejectionReason.DUPLICATE]
    shown = sorted(rejections, key=lambda rejection: -rejection.score)[:_MOST_REJECTIONS]
    for rejection in shown:
        canvas.rectangle(rejection.box_xyxy, _REJECTED, 1.0)
        canvas.tag(f"{rejection.class_name}: {rejection.reason.value}", rejection.box_xyxy[:2], _REJECTED)
    if len(rejections) > len(shown):
        corner = np.array([0.0, float(rgb.shape[0])])
        canvas.tag(f"{len(rejections) - len(shown)} more rejected", corner, _REJECTED)
    for pose in sorted(poses, key=lambda pose: -float(pose.T_camera_object[2, 3])):
        _draw_pose(canvas, pose, camera)
    return canvas.finish()


def _draw_pose(canvas: Canvas, pose: ObjectPose, camera: Camera) -> None:
    color = class_color(pose.class_id)
    corners = se3.apply(pose.T_camera_object, _CORNERS * pose.box_size + pose.box_center)
    origin = se3.apply(pose.T_camera_object, pose.box_center[None])[0]
    if min(corners[:, 2].min(), origin[2]) < _NEAR_M:
        return
    pixels = _project(corners, camera)
    hidden = int(np.argmax(np.linalg.norm(corners, axis=1)))
    for a, b in sorted(_EDGES, key=lambda edge: hidden not in edge):
        canvas.line(pixels[a], pixels[b], color, 1.0 if hidden in (a, b) else 2.0, faint=hidden in (a, b))
    length = 0.5 * float(np.max(pose.box_size))
    tips = _project(np.concatenate([origin[None], origin + length * pose.T_camera_object[:3, :3].T]), camera)
    for tip, axis_color in zip(tips[1:], _AXES):
        canvas.line(tips[0], tip, axis_color, 2.5)
    name = pose.class_name if pose.track_id < 0 else f"{pose.class_name} #{pose.track_id}"
    canvas.tag(f"{name} {pose.score:.2f}", pixels.min(axis=0), color)


def _project(points_camera: Array, camera: Camera) -> Array:
    """Project to pixels of the real image, distortion included."""
    return camera.distort(camera.project(points_camera))


def class_color(class_id: int) -> Color:
    """Return a class's colour; they repeat after eight."""
    return _PALETTE[class_id % len(_PALETTE)]


def as_picture(image: NDArray[np.generic]) -> Image:
    """Return any image that a task reads, grey and [0, 1] float ones too, as (H, W, 3) RGB uint8."""
    if image.dtype != np.uint8:
        image = np.clip(np.asarray(image, dtype=np.float32) * 255.0, 0, 255).astype(np.uint8)
    return to_rgb(image)


def draw_mask(rgb: Image, mask: Mask) -> Image:
    """Return a copy of an image with a mask (H, W) tinted, its contours drawn."""
    color = np.array(class_color(0))
    picture = np.where(mask[..., None], (1.0 - _MASK_TINT) * rgb + _MASK_TINT * color, rgb).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture, contours, -1, color.tolist(), 1, cv2.LINE_AA), dtype=np.uint8)


def side_by_side(pictures: Sequence[tuple[str, Image]]) -> Image:
    """Join named pictures of equal height into one, each under its name."""
    columns: list[Image] = []
    for name, picture in pictures:
        strip = np.full((_NAME_STRIP_PX, picture.shape[1], 3), 255, dtype=np.uint8)
        cv2.putText(strip, name, (4, 17), _FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        gap = np.full((picture.shape[0] + _NAME_STRIP_PX, _GAP_PX, 3), 255, dtype=np.uint8)
        columns += [np.concatenate([strip, picture]), gap]
    return np.concatenate(columns[:-1], axis=1)


class Canvas:
    """A copy of an image to draw on, with widths and text in proportion to its size."""

    def __init__(self, rgb: Image) -> None:
        self.image = np.array(rgb, dtype=np.uint8, order="C")
        self._unit = max(0.5, min(rgb.shape[:2]) / 480)
        self._tags: list[tuple[str, Array, Color]] = []

    def rectangle(self, box_xyxy: Array, color: Color, width: float) -> None:
        """Draw a box; ``width`` is in pixels of a picture 480 high, here and below."""
        low, high = self._fixed(box_xyxy[:2]), self._fixed(box_xyxy[2:])
        cv2.rectangle(self.image, low, high, color, self._width(width), cv2.LINE_AA, _SUBPIXEL_BITS)

    def line(self, start: Array, end: Array, color: Color, width: float, *, faint: bool = False) -> None:
        """Draw a line, darker when it is ``faint``."""
        if faint:
            color = (color[0] * 3 // 5, color[1] * 3 // 5, color[2] * 3 // 5)
        width_px = self._width(width)
        cv2.line(self.image, self._fixed(start), self._fixed(end), color, width_px, cv2.LINE_AA, _SUBPIXEL_BITS)

    def dot(self, point: Array, color: Color) -> None:
        """Draw a point with a dark rim."""
        radius = max(2, round(2.5 * self._unit))
        for grow, shade in ((1, (0, 0, 0)), (0, color)):
            size = (radius + grow) << _SUBPIXEL_BITS
            cv2.circle(self.image, self._fixed(point), size, shade, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)

    def tag(self, text: str, corner: Array, color: Color) -> None:
        """Note a text to be written on a filled strip above ``corner``, over all lines."""
        self._tags.append((text, corner, color))

    def finish(self) -> Image:
        """Write the texts, those noted last first, each moved to where it is inside the image and on no other."""
        taken: list[tuple[int, int, int, int]] = []
        for text, corner, color in reversed(self._tags):
            taken.append(self._write(text, corner, color, taken))
        return self.image

    def _write(
        self, text: str, corner: Array, color: Color, taken: list[tuple[int, int, int, int]]
    ) -> tuple[int, int, int, int]:
        scale, pad = 0.45 * self._unit, max(2, round(4 * self._unit))
        (width, height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
        width, height = width + 2 * pad, height + baseline + pad
        left, bottom = self._pixel(corner)
        x = max(0, min(left, self.image.shape[1] - width))
        y = max(height, min(bottom, self.image.shape[0]))
        for _ in taken:
            below = [low for a, high, b, low in taken if a < x + width and x < b and high < y and y - height < low]
            if not below or max(below) + height > self.image.shape[0]:
                break
            y = max(below) + height
        ink = (0, 0, 0) if np.dot(color, (0.299, 0.587, 0.114)) > 120 else (255, 255, 255)
        cv2.rectangle(self.image, (x, y - height), (x + width - 1, y - 1), color, cv2.FILLED)
        cv2.putText(self.image, text, (x + pad, y - baseline), _FONT, scale, ink, 1, cv2.LINE_AA)
        return x, y - height, x + width, y

    def _width(self, width: float) -> int:
        pixels: int = max(1, round(width * self._unit))
        return pixels

    @staticmethod
    def _pixel(point: Array, scale: int = 1) -> tuple[int, int]:
        """Round to whole pixels, or parts of them, kept within what OpenCV's integers hold."""
        x, y = np.clip(np.nan_to_num(point), -1e4, 1e4) * scale
        return round(float(x)), round(float(y))

    def _fixed(self, point: Array) -> tuple[int, int]:
        return self._pixel(point, 1 << _SUBPIXEL_BITS)
