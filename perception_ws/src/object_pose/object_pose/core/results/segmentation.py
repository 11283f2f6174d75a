"""Masks of one class: the result type, and the figures of segmentation pooled over all pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
_THRESHOLD = 0.5


@dataclass(frozen=True)
class Segmentation:
    """Each pixel's ``probability`` (H, W) float32 in [0, 1] of belonging to the class, in pixels of the image."""

    probability: NDArray[np.float32]
    threshold: float = _THRESHOLD

    def __post_init__(self) -> None:
        if self.probability.ndim != 2:
            raise ValueError(f"probability must have shape (H, W), got {self.probability.shape}")
        if not 0.0 <= float(self.probability.min(initial=0.0)) <= float(self.probability.max(initial=0.0)) <= 1.0:
            raise ValueError("probability must be in [0, 1]")

    @property
    def mask(self) -> Mask:
        """The pixels that reach the threshold, (H, W) bool."""
        return np.asarray(self.probability >= self.threshold)

    @property
    def cover(self) -> float:
        """The share of pixels in the mask."""
        return float(self.mask.mean()) if self.probability.size else 0.0


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
