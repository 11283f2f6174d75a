"""Classes of whole images, with a map of where they show."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from object_pose.core.arrays import Image
from object_pose.core.errors import ModelError
from object_pose.core.results.classification import Classification, ClassificationJson, score_classes
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.drawing import Canvas, class_color
from object_pose.core.vision.image import unletterbox
from object_pose.tasks.task import Array32, Interface, Prepared, Task, prepare_rgb

LAYOUT = "class_probabilities_attention"
_HEAT = 0.5  # of the attention's colours in a drawing


def _decode(
    outputs: Sequence[Array32], prepared: Prepared, labels: tuple[str, ...], options: DecodeOptions
) -> Classification:
    probabilities, attention = outputs
    return Classification(probabilities[0].astype(np.float64), unletterbox(attention[0, 0], prepared.box))


def _check(interface: Interface) -> None:
    expected = (1, len(interface.labels))
    shapes = interface.output_shapes
    if len(shapes) != 2 or shapes[0] != expected or len(shapes[1]) != 4 or shapes[1][:2] != (1, 1):
        raise ModelError(
            f"the network gives outputs of shapes {list(shapes)}, its card says {expected} and (1, 1, h, w)",
            "export the model again",
        )


def _summarise(result: Classification, labels: Sequence[str]) -> str:
    return f"{labels[result.class_id]} {result.score:.2f}"


def _draw(rgb: Image, result: Classification, labels: Sequence[str]) -> Image:
    """Write the likeliest class and show where the network looked."""
    heat = cv2.applyColorMap((result.attention * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    canvas = Canvas(((1.0 - _HEAT) * rgb + _HEAT * heat).astype(np.uint8))
    canvas.tag(f"{labels[result.class_id]} {result.score:.2f}", np.zeros(2), class_color(result.class_id))
    return canvas.finish()


def _score(results: Sequence[Classification], truths: Sequence[int], labels: tuple[str, ...]) -> dict[str, float]:
    probabilities = np.array([result.probabilities for result in results]).reshape(-1, len(labels))
    return score_classes(probabilities, np.asarray(truths, dtype=np.int64), labels)


CLASSIFY = Task[Classification, int](
    name="classify",
    summary="one class for the whole image, and where it shows",
    layouts=(LAYOUT,),
    metric="accuracy",
    json_type=ClassificationJson,
    default_model="inspection.onnx",
    prepare=prepare_rgb,
    decode=_decode,
    to_json=Classification.to_json,
    summarise=_summarise,
    draw=_draw,
    score=_score,
    check=_check,
)
