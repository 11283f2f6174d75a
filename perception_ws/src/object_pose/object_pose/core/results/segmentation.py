"""Masks of one class: the result type, and the figures of segmentation pooled over all pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Mask
from object_pose.core.results.schema import ClassId, Score, number

_THRESHOLD = 0.5
# Contours may leave the pixels' staircase by this much.
_CONTOUR_TOLERANCE_PX = 1.0

Polygon = Annotated[
    list[Annotated[list[int], {"minItems": 2, "maxItems": 2}]],
    {"minItems": 3, "description": "corners x, y in pixels of the image; the polygon is closed"},
]


class RegionJson(TypedDict):
    """A connected region of the mask."""

    contour_px: Polygon
    holes_px: list[Polygon]


class SegmentationJson(TypedDict):
    """The mask of one class."""

    class_id: ClassId
    class_name: str
    size_px: Annotated[list[int], {"minItems": 2, "maxItems": 2, "description": "width and height of the image"}]
    cover: Annotated[Score, {"description": "share of the pixels in the mask"}]
    regions: list[RegionJson]


@dataclass(frozen=True)
class Segmentation:
    """Each pixel's ``probability`` (H, W) float32 in [0, 1] of belonging to the class, in pixels of the image."""

    probability: NDArray[np.float32]
    threshold: float = _THRESHOLD

    def __post_init__(self) -> None:
        if self.probability.ndim != 2:
            raise ValueError(f"probability must have shape (H, W), got {self.probability.shape}")
        low, high = (float(bound(initial=0.0)) for bound in (self.probability.min, self.probability.max))
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"probability must be in [0, 1], got {low} to {high}")

    @property
    def mask(self) -> Mask:
        """The pixels that reach the threshold, (H, W) bool."""
        return np.asarray(self.probability >= self.threshold)

    @property
    def cover(self) -> float:
        """The share of pixels in the mask."""
        return float(self.mask.mean()) if self.probability.size else 0.0

    @property
    def regions(self) -> list[RegionJson]:
        """Connected regions of the mask, each with its contour and holes; those without area are left out."""
        contours, links = cv2.findContours(self.mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        polygons = [_polygon(contour) for contour in contours]
        regions: dict[int, RegionJson] = {
            index: {"contour_px": polygon, "holes_px": []}
            for index, polygon in enumerate(polygons)
            if polygon and links[0][index][3] < 0
        }
        for index, polygon in enumerate(polygons):
            parent = int(links[0][index][3])
            if polygon and parent in regions:
                regions[parent]["holes_px"].append(polygon)
        return list(regions.values())

    def to_json(self, labels: Sequence[str]) -> SegmentationJson:
        """Return how much of the image the class covers, and its regions."""
        height, width = self.probability.shape
        return {
            "class_id": 0,
            "class_name": labels[0],
            "size_px": [width, height],
            "cover": number(self.cover),
            "regions": self.regions,
        }


def _polygon(contour: Any) -> list[list[int]]:
    """Return the corners of a contour; none where it encloses no area, as that of one pixel or of a thin line."""
    if cv2.contourArea(contour) == 0:
        return []
    corners = cv2.approxPolyDP(contour, _CONTOUR_TOLERANCE_PX, True)
    if cv2.contourArea(corners) == 0:  # so small that the tolerance takes it for a line
        corners = contour
    return [[int(x), int(y)] for x, y in corners[:, 0]]


def score_masks(predicted: Sequence[Mask], truths: Sequence[Mask]) -> dict[str, float]:
    """Return ``accuracy``, ``precision``, ``recall``, ``iou`` and ``mean_iou`` over the pixels of all images together.

    ``iou`` is that of the class alone; ``mean_iou`` is its mean with the background's, as Keras' MeanIoU and the
    footprint task define it. A figure without a pixel to count is NaN. Raises ``ValueError`` for masks of two sizes.
    """
    both = neither = only_predicted = only_true = 0
    for mask, truth in zip(predicted, truths, strict=True):
        if mask.shape != truth.shape:
            raise ValueError(f"a predicted mask has shape {mask.shape}, its truth {truth.shape}")
        both += int(np.count_nonzero(mask & truth))
        neither += int(np.count_nonzero(~(mask | truth)))
        only_predicted += int(np.count_nonzero(mask & ~truth))
        only_true += int(np.count_nonzero(truth & ~mask))
    wrong = only_predicted + only_true
    iou, background = _share(both, both + wrong), _share(neither, neither + wrong)
    return {
        "accuracy": _share(both + neither, both + neither + wrong),
        "precision": _share(both, both + only_predicted),
        "recall": _share(both, both + only_true),
        "iou": iou,
        "mean_iou": float((iou + background) / 2),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
