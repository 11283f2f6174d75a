"""Classes of whole images, with a map of where they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from object_pose.core.errors import ModelError
from object_pose.core.results.classification import Classification, score_classes
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.image import unletterbox
from object_pose.tasks.task import Array32, Interface, Prepared, Task, prepare_rgb

LAYOUT = "class_probabilities_attention"


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


def _describe(result: Classification, labels: tuple[str, ...]) -> Mapping[str, Any]:
    row, column = np.unravel_index(int(result.attention.argmax()), result.attention.shape)
    return {
        "label": labels[result.class_id],
        "score": result.score,
        "probabilities": dict(zip(labels, result.probabilities.tolist())),
        "attention_peak": {"x": int(column), "y": int(row), "value": float(result.attention.max())},
    }


def _score(results: Sequence[Classification], truths: Sequence[int], labels: tuple[str, ...]) -> dict[str, float]:
    probabilities = np.array([result.probabilities for result in results]).reshape(-1, len(labels))
    return score_classes(probabilities, np.asarray(truths, dtype=np.int64), labels)


CLASSIFY = Task[Classification, int](
    name="classify",
    summary="one class for the whole image, and where it shows",
    layouts=(LAYOUT,),
    metric="accuracy",
    default_model="inspection.onnx",
    prepare=prepare_rgb,
    decode=_decode,
    describe=_describe,
    score=_score,
    check=_check,
)
