"""Masks of one class, such as building footprints in aerial tiles."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from object_pose.core.arrays import Image, Mask
from object_pose.core.errors import ModelError
from object_pose.core.results.segmentation import Segmentation, SegmentationJson, score_masks
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.drawing import draw_mask
from object_pose.core.vision.guided_filter import guided
from object_pose.core.vision.image import unletterbox
from object_pose.core.vision.resampling import shrunk
from object_pose.tasks.task import Array32, GroundResolution, Interface, Prepared, Task, prepare_rgb

LAYOUT = "segment_mask"
# A model's second output, where it has one, is the image's ground resolution in octaves above this.
RESOLUTION_UNIT_M = 0.1
_FINEST_M = 0.05
# Masks follow what is even over such windows; a larger image is made as small as this for it.
_EVEN_M, _EVENNESS = 1.0, 1e-3
_LARGEST_RADIUS_PX, _LARGEST_GUIDE_PX = 24, 512
# What follows the image counts as much as what the network says.
_GUIDED_SHARE = np.float32(0.5)


def _decode(
    outputs: Sequence[Array32], prepared: Prepared, labels: tuple[str, ...], options: DecodeOptions
) -> Segmentation:
    return Segmentation(np.clip(unletterbox(outputs[0][0, 0], prepared.box), 0.0, 1.0))


def _estimated_resolution(outputs: Sequence[Array32], prepared: Prepared) -> float | None:
    if len(outputs) < 2:
        return None
    return float(RESOLUTION_UNIT_M * 2.0 ** float(outputs[1][0, 0]) * prepared.box.scale[0])


def _mean(results: Sequence[Segmentation]) -> Segmentation:
    return Segmentation(np.mean([result.probability for result in results], axis=0, dtype=np.float32))


def _follow_edges(result: Segmentation, rgb: Image, metres_per_pixel: float) -> Segmentation:
    """Return the probabilities, brought half way towards what is the same all over an even surface."""
    height, width = rgb.shape[:2]
    scale = min(1.0, _LARGEST_GUIDE_PX / max(height, width))
    radius = min(round(_EVEN_M * scale / metres_per_pixel), _LARGEST_RADIUS_PX)
    if radius < 1:
        return result
    small_wh = max(1, round(width * scale)), max(1, round(height * scale))
    probability = np.asarray(cv2.resize(result.probability, small_wh, interpolation=cv2.INTER_AREA), dtype=np.float32)
    change = _GUIDED_SHARE * (guided(probability, shrunk(rgb, small_wh), radius, _EVENNESS) - probability)
    change = np.asarray(cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    return Segmentation(np.clip(result.probability + change, 0.0, 1.0))


def _summarise(result: Segmentation, labels: Sequence[str]) -> str:
    return f"{labels[0]} covers {result.cover:.1%} in {len(result.regions)} regions"


def _draw(rgb: Image, result: Segmentation, labels: Sequence[str]) -> Image:
    return draw_mask(rgb, result.mask)


def _score(results: Sequence[Segmentation], truths: Sequence[Mask], labels: tuple[str, ...]) -> dict[str, float]:
    return score_masks([result.mask for result in results], truths)


def _check(interface: Interface) -> None:
    shapes = interface.output_shapes
    is_mask = bool(shapes) and len(shapes[0]) == 4 and shapes[0][:2] == (1, 1)
    if not is_mask or shapes[1:] not in ((), ((1, 1),)):
        expected = "(1, 1, H, W), and maybe the resolution (1, 1) after it"
        raise ModelError(f"a mask model's output is {expected}; this one has {list(shapes)}")


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
    resolution=GroundResolution(_FINEST_M, _estimated_resolution, _mean, _follow_edges),
)
