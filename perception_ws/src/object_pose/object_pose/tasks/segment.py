"""Masks of one class, such as building footprints in aerial tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from object_pose.core.arrays import Image, Mask
from object_pose.core.errors import ModelError
from object_pose.core.results.segmentation import Segmentation, SegmentationJson, score_masks
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.drawing import draw_mask
from object_pose.core.vision.image import unletterbox
from object_pose.tasks.task import Array32, Interface, Prepared, Task, prepare_rgb

LAYOUT = "segment_mask"


def _decode(
    outputs: Sequence[Array32], prepared: Prepared, labels: tuple[str, ...], options: DecodeOptions
) -> Segmentation:
    (probability,) = outputs
    return Segmentation(np.clip(unletterbox(probability[0, 0], prepared.box), 0.0, 1.0))


def _summarise(result: Segmentation, labels: Sequence[str]) -> str:
    return f"{labels[0]} covers {result.cover:.1%} in {len(result.regions)} regions"


def _draw(rgb: Image, result: Segmentation, labels: Sequence[str]) -> Image:
    return draw_mask(rgb, result.mask)


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
    json_type=SegmentationJson,
    default_model="buildings.onnx",
    prepare=prepare_rgb,
    decode=_decode,
    to_json=Segmentation.to_json,
    summarise=_summarise,
    draw=_draw,
    score=_score,
    check=_check,
)
