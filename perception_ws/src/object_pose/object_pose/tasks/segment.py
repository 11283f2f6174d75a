"""Masks of one class, such as building footprints in aerial tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from object_pose.core.errors import ModelError
from object_pose.core.results.segmentation import Mask, Segmentation, score_masks
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.image import unletterbox
from object_pose.tasks.task import Array32, Interface, Prepared, Task, prepare_rgb

LAYOUT = "segment_mask"
# Outlines may leave the pixels' staircase by this much.
_OUTLINE_TOLERANCE_PX = 1.0


def _decode(
    outputs: Sequence[Array32], prepared: Prepared, labels: tuple[str, ...], options: DecodeOptions
) -> Segmentation:
    (probability,) = outputs
    return Segmentation(np.clip(unletterbox(probability[0, 0], prepared.box), 0.0, 1.0))


def _describe(result: Segmentation, labels: tuple[str, ...]) -> Mapping[str, Any]:
    height, width = result.probability.shape
    return {"label": labels[0], "width": width, "height": height, "cover": result.cover, "regions": _regions(result)}


def _regions(result: Segmentation) -> list[dict[str, Any]]:
    """Return connected regions, each with its outline and holes as [x, y] pixels."""
    mask = result.mask.astype(np.uint8)
    contours, links = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    regions: dict[int, dict[str, Any]] = {}
    for index, contour in enumerate(contours):
        if links[0][index][3] < 0:
            regions[index] = {"outline": _polygon(contour), "holes": []}
    for index, contour in enumerate(contours):
        if links[0][index][3] >= 0:
            regions[int(links[0][index][3])]["holes"].append(_polygon(contour))
    return list(regions.values())


def _polygon(contour: Any) -> list[list[int]]:
    corners = cv2.approxPolyDP(contour, _OUTLINE_TOLERANCE_PX, True)
    return [[int(x), int(y)] for x, y in corners[:, 0]]


def _score(results: Sequence[Segmentation], truths: Sequence[Mask], labels: tuple[str, ...]) -> dict[str, float]:
    return score_masks([result.mask for result in results], truths)


def _check(interface: Interface) -> None:
    shapes = interface.output_shapes
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][:2] != (1, 1):
        raise ModelError(f"a mask model has one output (1, 1, H, W), this one has {list(shapes)}")


SEGMENT = Task[Segmentation, Mask](
    name="segment",
    summary="the pixels of one class, such as building footprints",
    layouts=(LAYOUT,),
    metric="iou",
    default_model="buildings.onnx",
    prepare=prepare_rgb,
    decode=_decode,
    describe=_describe,
    score=_score,
    check=_check,
)
