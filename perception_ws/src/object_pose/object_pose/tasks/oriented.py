"""Oriented boxes with a heading: at most one in an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import ModelError
from object_pose.core.results.oriented import SCORE_THRESHOLD, OrientedBox, decode_oriented, score_oriented
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.image import letterbox, to_rgb
from object_pose.tasks.task import Array32, Interface, Prepared, Task

LAYOUT = "oriented_box"
Boxes = tuple[OrientedBox, ...]


def _prepare(image: NDArray[np.generic], input_wh: tuple[int, int]) -> Prepared:
    # A float image is the generator's own, which 8 bits would round.
    if image.ndim == 2 and image.dtype == np.float32 and image.shape == input_wh[::-1]:
        _, box = letterbox(np.zeros(image.shape, np.uint8), input_wh)
        return Prepared(image[None, None].astype(np.float32, copy=False), box)
    grey = cv2.cvtColor(to_rgb(image), cv2.COLOR_RGB2GRAY)
    canvas, box = letterbox(grey, input_wh)
    return Prepared(canvas[None, None].astype(np.float32) / np.float32(255.0), box)


def _check(interface: Interface) -> None:
    if interface.output_shapes != ((1, 6),):
        raise ModelError(f"the network's outputs have shapes {list(interface.output_shapes)}, expected one of (1, 6)")


def _decode(outputs: Sequence[Array32], prepared: Prepared, labels: tuple[str, ...], options: DecodeOptions) -> Boxes:
    found = decode_oriented(outputs[0][0], options.score_threshold)
    if found is None:
        return ()
    x, y = prepared.box.to_image(np.array([found.x, found.y]))
    scale_x, scale_y = prepared.box.scale
    moved = dataclasses.replace(found, x=x, y=y, width=found.width / scale_x, height=found.height / scale_y)
    return (moved,)


def _describe(result: Boxes, labels: tuple[str, ...]) -> Mapping[str, Any]:
    return {"boxes": [{"label": labels[0], **dataclasses.asdict(box)} for box in result]}


def _score(results: Sequence[Boxes], truths: Sequence[Boxes], labels: tuple[str, ...]) -> dict[str, float]:
    score = score_oriented([next(iter(r), None) for r in results], [next(iter(t), None) for t in truths])
    return dataclasses.asdict(score)


ORIENTED = Task[Boxes, Boxes](
    name="oriented",
    summary="oriented boxes with a heading",
    layouts=(LAYOUT,),
    metric="score_iou07",
    default_model="oriented.onnx",
    prepare=_prepare,
    decode=_decode,
    describe=_describe,
    score=_score,
    check=_check,
    options=DecodeOptions(score_threshold=SCORE_THRESHOLD),
    scored_options=DecodeOptions(score_threshold=0.0),
)
