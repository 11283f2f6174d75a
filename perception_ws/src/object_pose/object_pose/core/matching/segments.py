"""Pieces of surface that stand out of the planes, and starts of parts in all orientations whose silhouette fits one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Mask
from object_pose.core.matching.oriented_depth import STRIDE
from object_pose.core.pose.depth_evidence import DepthView
from object_pose.core.vision.boxes import box_iou

_Bits = NDArray[np.uint8]  # 0 or 1, as OpenCV takes masks

_STEP_SIGMAS, _STEP_M = 5.0, 0.006
_LEAST_PIXELS, _LEAST_CORE = 12, 3
_GAP = 5  # samples: wires as near to each other are one piece
# Parts of wires that touch are one piece, too: it falls apart where it is narrower than twice so many samples.
_NECKS = (2, 3, 4, 5, 6)
_SAME_BOX = 0.85  # overlap of boxes of which one is enough
_BEST_SHAPES = 120
_TOO_SMALL_COST = 4.0
_FRONT_SHARE = 0.25  # of the diameter: the centre behind the segment's near surface


@dataclass(frozen=True)
class Segment:
    """A piece of surface: the box (4,) of its pixels, its near depth in metres, and whether it consists of wires."""

    box_xyxy: Array
    near_m: float
    is_wire: bool = False


def find_segments(view: DepthView, wanted: Mask) -> list[Segment]:
    """Return connected pieces of the ``wanted`` pixels (h, w), every ``STRIDE``-th.

    They are whole, split at depth steps, and wires, as of a spring, with what lies between them; pieces of wires are
    split where they are narrow as well.
    """
    depth = view.depth_m[::STRIDE, ::STRIDE]
    inside = (wanted & (depth > 0.0)).astype(np.uint8)
    filled = np.where(depth > 0.0, depth, np.float32(0.0))
    steps = cv2.morphologyEx(filled, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    limit = np.maximum(_STEP_M, _STEP_SIGMAS * view.noise.sigma(filled.astype(np.float64)))
    gap = np.ones((_GAP, _GAP), np.uint8)
    wires = inside & ~cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    porous = cv2.morphologyEx(wires | (cv2.dilate(wires, gap) & (depth <= 0.0)), cv2.MORPH_CLOSE, gap)
    surfaces = inside, inside & (steps < limit)
    segments = [Segment(*piece) for mask in surfaces for piece in _pieces(_opened(mask), inside, depth)]
    segments += [Segment(*piece, is_wire=True) for piece in _pieces(_opened(porous), inside, depth)]
    for neck in _NECKS:
        apart = cv2.erode(porous, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * neck + 1, 2 * neck + 1)))
        if not apart.any():
            break
        found = [Segment(*piece, is_wire=True) for piece in _pieces(apart, inside, depth, eroded_by=neck)]
        segments += [piece for piece in found if not _is_known(piece, segments)]
    return segments


def _opened(mask: _Bits) -> _Bits:
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))


def _pieces(apart: _Bits, inside: _Bits, depth: DepthImage, eroded_by: int = 0) -> Iterator[tuple[Array, float]]:
    """Return boxes (4,) in pixels, and near depths, of the pieces of a mask that was eroded by so many samples."""
    least = _LEAST_CORE if eroded_by else _LEAST_PIXELS
    count, labels, stats, _ = cv2.connectedComponentsWithStats(apart, connectivity=4)
    for label in range(1, count):
        left, top, width, height, area = stats[label]
        if area < least:
            continue
        window = slice(top, top + height), slice(left, left + width)
        part = (labels[window] == label) & (inside[window] > 0)
        if part.any():
            box = np.array([left, top, left + width - 1, top + height - 1]) + eroded_by * np.array([-1, -1, 1, 1])
            yield STRIDE * box.astype(np.float64), float(np.percentile(depth[window][part], 20))


def _is_known(piece: Segment, segments: Sequence[Segment]) -> bool:
    boxes = [known.box_xyxy for known in segments if known.is_wire]
    return bool(boxes) and bool(np.any(box_iou(piece.box_xyxy[None], np.array(boxes)) >= _SAME_BOX))


def starts_in(
    segment: Segment, diameter: float, center: Array, rotations: Array, extents: Array, view: DepthView
) -> Array:
    """Return poses (N, 4, 4) of a part whose silhouette has about the shape and size of the segment.

    ``rotations`` (G, 3, 3) are spread over all orientations, ``extents`` (G, 4) their silhouettes' x_min, y_min, x_max,
    y_max about the part's ``center`` (3,), in metres.
    """
    camera = view.camera
    low, high = segment.box_xyxy[:2], segment.box_xyxy[2:] + 1.0
    middle = camera.backproject(0.5 * (low + high), np.array(segment.near_m + _FRONT_SHARE * diameter))
    distance = float(np.linalg.norm(middle))
    size = np.maximum(high - low, 1.0) * distance / np.array([camera.fx, camera.fy])
    if size.max() < 0.25 * diameter or size.min() > 1.6 * diameter:
        return np.zeros((0, 4, 4))
    misfit = np.log(np.maximum((extents[:, 2:] - extents[:, :2]) / size, 1e-6))
    cost = np.sum(np.where(misfit < 0.0, _TOO_SMALL_COST, 1.0) * misfit**2, axis=1)
    chosen = np.argsort(cost)[:_BEST_SHAPES]
    to_ray = _turn_to(middle / distance)
    rotation = to_ray @ rotations[chosen]
    aside = -0.5 * (extents[chosen, :2] + extents[chosen, 2:])
    poses = np.tile(np.eye(4), (len(chosen), 1, 1))
    poses[:, :3, :3] = rotation
    poses[:, :3, 3] = middle + aside @ to_ray[:, :2].T - rotation @ center
    return poses


def _turn_to(direction: Array) -> Array:
    """Return the shortest rotation that takes the optical axis to a direction in front of the camera."""
    x, y, z = direction
    return np.array(
        [[1 - x * x / (1 + z), -x * y / (1 + z), x], [-x * y / (1 + z), 1 - y * y / (1 + z), y], [-x, -y, z]]
    )
