"""Images on their way to a network: RGB whatever comes in, letterboxed, as a batch; and points on their way back.

Pixel centres are integers everywhere, so resampling by ``s`` maps x to ``(x + 0.5) * s - 0.5``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image
from object_pose.core.errors import DataError
from object_pose.core.vision.resampling import shrunk

PADDING_VALUE = 114
COARSEST_STRIDE = 32


@dataclass(frozen=True)
class Letterbox:
    """How an image of ``image_wh`` lies in a canvas of ``canvas_wh``: resampled to ``content_wh``, then shifted.

    The scale is kept per axis because ``content_wh`` is whole pixels; so the inverse is exact.
    """

    image_wh: tuple[int, int]
    canvas_wh: tuple[int, int]
    content_wh: tuple[int, int]
    offset: tuple[int, int]

    @classmethod
    def fit(cls, image_wh: tuple[int, int], canvas_wh: tuple[int, int]) -> Letterbox:
        """Return the letterbox that centres an image, aspect kept, in a canvas."""
        scale = min(canvas_wh[0] / image_wh[0], canvas_wh[1] / image_wh[1])
        width, height = (max(1, round(size * scale)) for size in image_wh)
        offset = ((canvas_wh[0] - width) // 2, (canvas_wh[1] - height) // 2)
        return cls(image_wh, canvas_wh, (width, height), offset)

    @property
    def scale(self) -> Array:
        """Canvas pixels per image pixel, (2,) in x and y."""
        return np.divide(self.content_wh, self.image_wh)

    def to_network(self, points: Array) -> Array:
        """Map (..., 2) pixels of the image to pixels of the canvas."""
        return np.asarray((points + 0.5) * self.scale - 0.5 + self.offset)

    def to_image(self, points: Array) -> Array:
        """Map (..., 2) pixels of the canvas to pixels of the image: the inverse of ``to_network``."""
        return np.asarray((points - self.offset + 0.5) / self.scale - 0.5)


def enlarged_wh(image_wh: tuple[int, int], input_wh: tuple[int, int], times: float) -> tuple[int, int]:
    """Return the canvas in which an image loses the least: its own size, at most ``times`` that of ``input_wh``.

    Sides are multiples of a network's coarsest stride; ``input_wh`` comes back where nothing is gained.
    """
    largest_wh = (int(times * side / COARSEST_STRIDE) * COARSEST_STRIDE for side in input_wh)
    scale = min(1.0, *(side / own for side, own in zip(largest_wh, image_wh)))
    if scale <= Letterbox.fit(image_wh, input_wh).scale.max():
        return input_wh
    width, height = (math.ceil(round(own * scale) / COARSEST_STRIDE) * COARSEST_STRIDE for own in image_wh)
    return width, height


def scaled_wh(image_wh: tuple[int, int], scale: float, largest_wh: tuple[int, int]) -> tuple[int, int]:
    """Return the canvas in which an image appears ``scale`` times its size, or less where that exceeds ``largest_wh``.

    Sides are multiples of a network's coarsest stride.
    """
    scale = min(scale, *(side / own for side, own in zip(largest_wh, image_wh)))
    width, height = (math.ceil(round(own * scale) / COARSEST_STRIDE) * COARSEST_STRIDE for own in image_wh)
    return max(width, COARSEST_STRIDE), max(height, COARSEST_STRIDE)


def smaller_wh(input_wh: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the least canvas that holds ``scale`` of a size, with sides that a network's coarsest stride divides."""
    width, height = (math.ceil(side * scale / COARSEST_STRIDE) * COARSEST_STRIDE for side in input_wh)
    return width, height


def letterbox(image: NDArray[np.uint8], input_wh: tuple[int, int]) -> tuple[NDArray[np.uint8], Letterbox]:
    """Fit an (H, W[, C]) uint8 image into an ``input_wh`` canvas padded with grey; an image that fits is not copied."""
    height, width = image.shape[:2]
    box = Letterbox.fit((width, height), input_wh)
    content: NDArray[np.generic] = image
    if box.content_wh != box.image_wh:
        content = resampled(image, box.content_wh)
    if box.content_wh == input_wh:
        return np.asarray(content, dtype=np.uint8), box
    left, top = box.offset
    canvas = np.full((input_wh[1], input_wh[0], *image.shape[2:]), PADDING_VALUE, dtype=np.uint8)
    canvas[top : top + box.content_wh[1], left : left + box.content_wh[0]] = content.reshape(
        box.content_wh[1], box.content_wh[0], *image.shape[2:]
    )
    return canvas, box


def resampled(image: NDArray[np.uint8], wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an (H, W[, C]) uint8 image at another size: areas are averaged where it shrinks, else interpolated."""
    shrinks = wh[0] < image.shape[1] or wh[1] < image.shape[0]
    return shrunk(image, wh) if shrinks else np.asarray(cv2.resize(image, wh), dtype=np.uint8)


def unletterbox(values: NDArray[np.float32], box: Letterbox) -> NDArray[np.float32]:
    """Resample a map (h, w) that a network gave over its canvas, at whatever stride, to the image's pixels (H, W)."""
    if values.shape != box.canvas_wh[::-1]:
        values = cv2.resize(values, box.canvas_wh, interpolation=cv2.INTER_LINEAR)
    (left, top), (width, height) = box.offset, box.content_wh
    content = values[top : top + height, left : left + width]
    if box.content_wh != box.image_wh:
        content = cv2.resize(content, box.image_wh, interpolation=cv2.INTER_LINEAR)
    return np.asarray(content, dtype=np.float32)


def to_batch(canvas: Image) -> NDArray[np.float32]:
    """Return an (H, W, 3) uint8 image as the (1, 3, H, W) float32 batch in [0, 1] that networks read."""
    batch = np.empty((1, 3, *canvas.shape[:2]), dtype=np.float32)
    for plane, channel in zip(batch[0], cv2.split(canvas)):
        np.multiply(channel, np.float32(1.0 / 255.0), out=plane)
    return batch


def to_grey(rgb: Image) -> Image:
    """Return an (H, W, 3) RGB image as (H, W) grey."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def to_rgb(image: NDArray[np.generic]) -> Image:
    """Return a grey (H, W) or (H, W, 1), RGB or RGBA uint8 image as contiguous (H, W, 3) RGB.

    Raises ``DataError`` for anything else: an empty image, another pixel type or number of channels.
    """
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or image.size == 0 or channels not in (1, 3, 4):
        raise DataError(f"an image of shape {image.shape} cannot be used", "expected (H, W, 3) RGB, or grey or RGBA")
    if image.dtype != np.uint8:
        raise DataError(f"an image of {image.dtype} pixels cannot be used", "convert it to 8 bits per channel")
    if channels == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(image[:, :, :3])
