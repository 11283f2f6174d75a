"""A task's result, or its truth, drawn over its image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Image
from object_pose.core.results.classification import Classification
from object_pose.core.results.oriented import OrientedBox
from object_pose.core.results.segmentation import Segmentation
from object_pose.core.vision.drawing import Canvas, class_color, draw_detections
from object_pose.core.vision.image import to_rgb

_LABEL_STRIP_PX = 24
_GAP_PX = 4
_MASK_TINT = 0.45
_HEAT = 0.5


def draw_result(task: str, image: NDArray[np.generic], result: Any, labels: Sequence[str]) -> Image:
    """Return a copy of an image with the task's result on it; grey and [0, 1] float images become RGB."""
    return _DRAW[task](as_picture(image), result, labels)


def as_picture(image: NDArray[np.generic]) -> Image:
    """Return any image that a task reads as (H, W, 3) RGB."""
    if image.dtype != np.uint8:
        image = np.clip(np.asarray(image, dtype=np.float32) * 255.0, 0, 255).astype(np.uint8)
    return to_rgb(image)


def draw_oriented(rgb: Image, boxes: Sequence[OrientedBox], labels: Sequence[str]) -> Image:
    """Draw each box, and a line from its centre along its heading."""
    canvas = Canvas(rgb)
    for box in boxes:
        corners = box.corners
        for start, end in zip(corners, np.roll(corners, -1, axis=0)):
            canvas.line(start, end, class_color(0), 2.0)
        canvas.line(np.array([box.x, box.y]), corners[2:].mean(axis=0), class_color(1), 2.0)
        canvas.tag(f"{box.score:.2f}", corners.min(axis=0), class_color(0))
    return canvas.finish()


def draw_classification(rgb: Image, result: Classification, labels: Sequence[str]) -> Image:
    """Write the likeliest class and show where the network looked."""
    heat = cv2.applyColorMap((result.attention * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    mixed = (1.0 - _HEAT) * rgb + _HEAT * heat
    canvas = Canvas(mixed.astype(np.uint8))
    canvas.tag(f"{labels[result.class_id]} {result.score:.2f}", np.zeros(2), class_color(result.class_id))
    return canvas.finish()


def draw_segmentation(rgb: Image, result: Segmentation, labels: Sequence[str]) -> Image:
    """Tint the mask and outline it."""
    return draw_mask(rgb, result.mask)


def draw_mask(rgb: Image, mask: NDArray[np.bool_]) -> Image:
    """Return a copy of an image with a mask (H, W) tinted and outlined."""
    color = np.array(class_color(0))
    picture = np.where(mask[..., None], (1.0 - _MASK_TINT) * rgb + _MASK_TINT * color, rgb).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture, outlines, -1, color.tolist(), 1, cv2.LINE_AA), dtype=np.uint8)


def side_by_side(pictures: Sequence[tuple[str, Image]]) -> Image:
    """Join named pictures of equal height into one, each under its name."""
    columns: list[Image] = []
    for name, picture in pictures:
        strip = np.full((_LABEL_STRIP_PX, picture.shape[1], 3), 255, dtype=np.uint8)
        cv2.putText(strip, name, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        gap = np.full((picture.shape[0] + _LABEL_STRIP_PX, _GAP_PX, 3), 255, dtype=np.uint8)
        columns += [np.concatenate([strip, picture]), gap]
    return np.concatenate(columns[:-1], axis=1)


_DRAW: dict[str, Callable[[Image, Any, Sequence[str]], Image]] = {
    "detect": draw_detections,
    "pose": draw_detections,
    "oriented": draw_oriented,
    "classify": draw_classification,
    "segment": draw_segmentation,
}
