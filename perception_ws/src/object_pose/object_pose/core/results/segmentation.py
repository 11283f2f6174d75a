"""Masks of one class: the result type, how probabilities become a mask, and figures pooled over all pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Mask
from object_pose.core.results.schema import ClassId, Score, number

# A pixel belongs to a mask from a probability between these on; one of the greatest expected IoU asks for no more.
_LEAST_THRESHOLD, _GREATEST_THRESHOLD = 0.35, 0.5
# A region without any pixel as sure as this is none.
_SURE = 0.6
_ITERATIONS = 20
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
    """Each pixel's ``probability`` (H, W) float32 in [0, 1] of belonging to the class, in pixels of the image.

    The mask is of the pixels that reach the ``threshold``, in regions that are sure of some pixel.
    """

    probability: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.probability.ndim != 2:
            raise ValueError(f"probability must have shape (H, W), got {self.probability.shape}")
        low, high = (float(bound(initial=0.0)) for bound in (self.probability.min, self.probability.max))
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"probability must be in [0, 1], got {low} to {high}")

    @cached_property
    def threshold(self) -> float:
        """The probability from which on pixels make a mask of the greatest expected IoU, from 0.35 to 0.5.

        Where the probabilities are sure that is nearly 0.5. Where they are not, as in a kind of place that a model has
        never seen, leaving out what is as likely as not costs more than it saves.
        """
        return float(np.clip(_best_threshold(self.probability), _LEAST_THRESHOLD, _GREATEST_THRESHOLD))

    @cached_property
    def mask(self) -> Mask:
        """The pixels of the class, (H, W) bool."""
        candidates = self.probability >= self.threshold
        count, regions = cv2.connectedComponents(candidates.astype(np.uint8))
        is_sure = np.zeros(count, dtype=bool)
        is_sure[regions[self.probability >= _SURE]] = True
        return np.asarray(candidates & is_sure[regions])

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


def _best_threshold(probability: NDArray[np.float32]) -> float:
    """Return the threshold of the mask with the greatest expected IoU: expected intersection over expected union.

    A pixel raises an IoU of J where its probability is above J / (1 + J); the mask of all those has a greater J, and so
    on until nothing changes (Dinkelbach 1967).
    """
    total, threshold = float(probability.sum(dtype=np.float64)), _GREATEST_THRESHOLD
    for _ in range(_ITERATIONS):
        chosen = probability[probability >= threshold]
        intersection = float(chosen.sum(dtype=np.float64))
        iou = intersection / max(chosen.size + total - intersection, 1.0)
        before, threshold = threshold, iou / (1.0 + iou)
        if abs(threshold - before) < 1e-4:
            break
    return threshold


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
