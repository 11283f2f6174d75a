"""Labelled images, and their augmentations: crops, mosaics, erased objects, light, colour, blur and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image
from object_pose.core.frame import AlignedDepth
from object_pose.core.vision.image import PADDING_VALUE
from object_pose.core.vision.roi import not_measured, painted_over

_ERASED_BORDER_PX = 2  # greatest width of what is erased around an object

SampleT = TypeVar("SampleT")


@dataclass(frozen=True)
class DetectionSample:
    """An image with its objects: ``boxes_xyxy`` (M, 4), ``class_ids`` (M,), ``keypoints`` (M, K, 2), all in pixels.

    ``depth`` is the rendered frame's, where its source measures any, and ``owners`` (H, W) says whose each pixel is:
    the object's place in the lists, -1 for none. What moves the pixels drops both. ``visibilities`` (M,) are the shares
    of the objects' silhouettes that are seen, where known.
    """

    image: Image
    boxes_xyxy: Array
    class_ids: NDArray[np.int64]
    keypoints: Array
    depth: AlignedDepth | None = None
    owners: NDArray[np.int8] | None = None
    visibilities: Array | None = None


# Gives endless samples; each data process calls it once, with its own generator.
Source = Callable[[np.random.Generator], Iterator[DetectionSample]]


def reused(
    fresh: Iterable[SampleT], uses: int, capacity: int, rng: np.random.Generator, until_reused: int = 0
) -> Iterator[SampleT]:
    """Yield each sample as it comes, then others of a buffer of ``capacity``, so that each is used ``uses`` times.

    With ``until_reused`` so many new samples must have come for each further use: a short training sees more then.
    """
    kept: list[SampleT] = []
    for count, sample in enumerate(fresh, 1):
        if len(kept) < capacity:
            kept.append(sample)
        else:
            kept[int(rng.integers(capacity))] = sample
        yield sample
        for _ in range(min(uses - 1, count // until_reused) if until_reused else uses - 1):
            yield kept[int(rng.integers(len(kept)))]


def random_crop(
    sample: DetectionSample, output_wh: tuple[int, int], scale_range: tuple[float, float], rng: np.random.Generator
) -> DetectionSample:
    """Resample a random window: ``scale`` output pixels an input pixel, placed so that it shows an object if it can."""
    width, height = output_wh
    scale = float(np.exp(rng.uniform(*np.log(scale_range))))
    source_wh = np.array(sample.image.shape[1::-1], dtype=np.float64)
    window = np.array([width, height]) / scale
    slack = source_wh - window
    corner = rng.uniform(np.minimum(slack, 0), np.maximum(slack, 0))
    if len(sample.boxes_xyxy):
        box = sample.boxes_xyxy[rng.integers(len(sample.boxes_xyxy))]
        middle = (box[:2] + box[2:]) / 2
        low, high = np.minimum(slack, 0), np.maximum(slack, 0)
        corner = np.clip(middle - window * rng.uniform(0.1, 0.9, 2), low, high)
    matrix = np.array([[scale, 0.0, -scale * corner[0]], [0.0, scale, -scale * corner[1]]])
    matrix[:, 2] += 0.5 * scale - 0.5  # pixel centres are integers
    source, warp = sample.image, matrix.copy()
    if scale < 0.7:
        source = cv2.blur(source, (2, 2))  # averages as area resampling would
        warp[:, 2] -= 0.5 * scale  # a mean of two pixels stands at the second, half a pixel beside their middle
    image = cv2.warpAffine(source, warp, output_wh, flags=cv2.INTER_LINEAR, borderValue=(PADDING_VALUE,) * 3)
    moved = replace(
        sample,
        image=image,
        boxes_xyxy=sample.boxes_xyxy * scale + np.tile(matrix[:, 2], 2),
        keypoints=sample.keypoints * scale + matrix[:, 2],
        depth=None,
        owners=None,
    )
    return _clip_boxes(moved, width, height)


def _clip_boxes(sample: DetectionSample, width: int, height: int, minimum_share: float = 0.25) -> DetectionSample:
    boxes = sample.boxes_xyxy
    clipped = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1])
    sides, full_sides = clipped[:, 2:] - clipped[:, :2], np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    keep = (sides.min(axis=1, initial=np.inf) >= 3) & (sides.prod(axis=1) >= minimum_share * full_sides.prod(axis=1))
    return only(replace(sample, boxes_xyxy=clipped), keep)


def flipped(sample: DetectionSample) -> DetectionSample:
    """Mirror an image and its labels left to right; keypoints keep their numbers."""
    last = sample.image.shape[1] - 1
    boxes, keypoints = sample.boxes_xyxy.copy(), sample.keypoints.copy()
    boxes[:, [0, 2]] = last - boxes[:, [2, 0]]
    keypoints[..., 0] = last - keypoints[..., 0]
    return DetectionSample(np.asarray(cv2.flip(sample.image, 1), dtype=np.uint8), boxes, sample.class_ids, keypoints)


def mosaic(
    samples: Sequence[DetectionSample],
    output_wh: tuple[int, int],
    scale_range: tuple[float, float],
    rng: np.random.Generator,
) -> DetectionSample:
    """Join random windows of four samples at a random corner: more and smaller objects, without their context."""
    width, height = output_wh
    middle_x, middle_y = (round(size * rng.uniform(0.3, 0.7)) for size in output_wh)
    image = np.empty((height, width, 3), dtype=np.uint8)
    tiles = []
    corners = ((0, 0), (middle_x, 0), (0, middle_y), (middle_x, middle_y))
    for sample, (left, top) in zip(samples, corners, strict=True):
        tile_wh = (width - left if left else middle_x, height - top if top else middle_y)
        tile = random_crop(sample, tile_wh, scale_range, rng)
        image[top : top + tile_wh[1], left : left + tile_wh[0]] = tile.image
        shift = np.array([left, top], dtype=np.float64)
        tiles.append(replace(tile, boxes_xyxy=tile.boxes_xyxy + np.tile(shift, 2), keypoints=tile.keypoints + shift))
    return DetectionSample(
        image,
        np.concatenate([tile.boxes_xyxy for tile in tiles]),
        np.concatenate([tile.class_ids for tile in tiles]),
        np.concatenate([tile.keypoints for tile in tiles]),
    )


def erased(sample: DetectionSample, objects: NDArray[np.bool_], rng: np.random.Generator) -> DetectionSample:
    """Return the sample without the pixels of some of its objects (M,), as the second pass erases occluders.

    The lists still name them; ``only`` leaves them out.
    """
    assert sample.owners is not None
    theirs = np.append(objects, False)[sample.owners].astype(np.uint8)
    side = 1 + 2 * int(rng.integers(_ERASED_BORDER_PX + 1))
    pixels = cv2.dilate(theirs, np.ones((side, side), np.uint8)) > 0
    depth = None if sample.depth is None else not_measured(sample.depth, pixels)
    return replace(sample, image=painted_over(sample.image, pixels), depth=depth)


def only(sample: DetectionSample, objects: NDArray[np.bool_]) -> DetectionSample:
    """Return the sample with some of its objects (M,) as labels, without depth and owners."""
    return DetectionSample(
        sample.image, sample.boxes_xyxy[objects], sample.class_ids[objects], sample.keypoints[objects]
    )


def disturbed(
    image: Image, rng: np.random.Generator, patch_probability: float, strength: float, unevenness: float
) -> Image:
    """Let light change across an image, cover a part of it now and then, and change its colours and sharpness."""
    lit = uneven_light(image, rng, unevenness)
    return photometric(random_patches(lit, rng, patch_probability), rng, strength)


def photometric(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Change light, colour, sharpness and noise as cameras do; ``strength`` 0 changes nothing, 1 is strong."""
    gain = rng.uniform(1 - 0.45 * strength, 1 + 0.45 * strength)
    tint = rng.uniform(1 - 0.2 * strength, 1 + 0.2 * strength, 3)
    offset = rng.uniform(-25, 25) * strength
    colours = np.column_stack([np.diag(gain * tint), np.full(3, offset)])
    if rng.random() < strength:
        # Renders and cameras differ in saturation and contrast more than in anything else.
        grey = np.full((3, 3), 1.0 / 3.0)
        colours = (grey + (np.eye(3) - grey) * np.exp(rng.uniform(-0.9, 0.9))) @ colours
        middle = (colours[:, :3] @ cv2.mean(image)[:3] + colours[:, 3]).mean()
        contrast = np.exp(rng.uniform(-0.4, 0.4) * strength)
        colours *= contrast
        colours[:, 3] += (1.0 - contrast) * middle
    # One matrix for all of it takes a third of the time of one step after another.
    pixels = np.asarray(cv2.transform(image.astype(np.float32), colours.astype(np.float32)), dtype=np.float32)
    draw = rng.random()
    if draw < 0.3 * strength:
        pixels = _blur(pixels, rng)
    elif draw > 1.0 - 0.3 * strength:
        pixels = _sharpened(pixels, rng)
    if rng.random() < 0.6 * strength:
        # One small noise tile, rolled, costs a tenth of fresh noise.
        sigma = rng.uniform(1, 12)
        pixels = pixels + np.float32(sigma) * _noise_tile(pixels.shape, rng)
    result = np.clip(pixels, 0, 255).astype(np.uint8)
    if rng.random() < 0.3 * strength:
        gamma = np.exp(rng.uniform(-0.5, 0.5))
        table = (np.linspace(0, 1, 256) ** gamma * 255).astype(np.uint8)
        result = np.asarray(cv2.LUT(result, table), dtype=np.uint8)
    if rng.random() < 0.2 * strength:
        quality = int(rng.integers(25, 90))
        compressed = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        result = np.asarray(cv2.imdecode(compressed, cv2.IMREAD_COLOR), dtype=np.uint8)
    return result


def uneven_light(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Let light change across a picture: softly, by a shadow with an edge, by shine; ``strength`` 0 changes nothing.

    A renderer's diffuse surfaces under few lamps have little of it, and a whole picture's gain has none.
    """
    height, width = image.shape[:2]
    if strength <= 0.0:
        return image
    cells = tuple(rng.integers(2, 6, 2))
    soft = rng.normal(0.0, 0.35 * strength, cells).astype(np.float32)
    light = np.exp(cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC))
    if rng.random() < 0.3 * strength:
        light *= _shadow(width, height, rng)
    pixels = image * light[..., None]
    if rng.random() < 0.4 * strength:
        pixels += _shine(width, height, rng)[..., None]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _shadow(width: int, height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the share of light (H, W) left beyond a line across a picture, whose edge is more or less soft."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    x, y = np.meshgrid(np.arange(width) - rng.uniform(0, width), np.arange(height) - rng.uniform(0, height))
    softness = rng.uniform(0.5, 0.05 * (width + height))
    beyond = 0.5 + 0.5 * np.tanh((x * np.cos(angle) + y * np.sin(angle)) / softness)
    return np.asarray(1.0 - rng.uniform(0.3, 0.7) * beyond, dtype=np.float32)


def _shine(width: int, height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return what elongated highlights of lamps add (H, W), in grey levels."""
    added = np.zeros((height, width), dtype=np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    for _ in range(int(rng.integers(1, 5))):
        angle, length = rng.uniform(0.0, np.pi), rng.uniform(0.02, 0.2) * max(width, height)
        dx, dy = x - rng.uniform(0, width), y - rng.uniform(0, height)
        along = (dx * np.cos(angle) + dy * np.sin(angle)) / length
        across = (dy * np.cos(angle) - dx * np.sin(angle)) / (length * rng.uniform(0.15, 0.8))
        added += np.float32(rng.uniform(40.0, 220.0)) * np.exp(-0.5 * (along**2 + across**2))
    return added


def random_patches(image: Image, rng: np.random.Generator, probability: float = 0.3) -> Image:
    """Cover small areas with flat or noisy patches, as occluders."""
    if rng.random() >= probability:
        return image
    result = image.copy()
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        w, h = rng.integers(6, max(7, width // 6), 2)
        x, y = rng.integers(0, width - w // 2), rng.integers(0, height - h // 2)
        patch = result[y : y + h, x : x + w]
        patch[:] = rng.integers(0, 256, 3) if rng.random() < 0.5 else rng.integers(0, 256, patch.shape)
    return result


def _blur(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.6)), dtype=np.float32)
    length = int(rng.integers(3, 8))
    half, middle = (length - 1) / 2, length // 2
    kernel = np.zeros((2 * middle + 1,) * 2, dtype=np.float32)  # odd, so that the picture stays where it is
    angle = rng.uniform(0, np.pi)
    for offset in np.linspace(-half, half, 2 * length):
        x, y = middle + offset * np.cos(angle), middle + offset * np.sin(angle)
        kernel[round(y), round(x)] = 1.0
    return np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum()), dtype=np.float32)


def _sharpened(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Raise edges over their surroundings, as the processing inside many cameras does."""
    smooth = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.7, 1.5))
    return np.asarray(pixels + np.float32(rng.uniform(0.3, 2.0)) * (pixels - smooth), dtype=np.float32)


def _noise_tile(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    rows, columns, channels = shape
    tile = rng.standard_normal((128, 128, channels), dtype=np.float32)
    return np.tile(tile, (rows // 128 + 1, columns // 128 + 1, 1))[:rows, :columns]
