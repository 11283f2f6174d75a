"""Oriented boxes with a heading: at most one in a grey image, or any number in a colour image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Image
from object_pose.core.errors import ModelError
from object_pose.core.results.oriented import (
    SCORE_THRESHOLD,
    OrientedBox,
    OrientedBoxes,
    OrientedBoxesJson,
    decode_oriented,
    score_oriented,
)
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.drawing import Canvas, class_color
from object_pose.core.vision.image import letterbox, to_grey, to_rgb
from object_pose.tasks.task import Array32, Interface, Prepared, Task, prepare_rgb

LAYOUT = "oriented_box"
# Rows (1, N, 7) of candidates: class, score, x, y, yaw, width across and height along the heading; pixels, radians.
LIST_LAYOUT = "oriented_boxes"
_MOST_CANDIDATES = 300  # bounds the time that an untrained network can take
# The network takes what is 0.8 and more for no background: so 204, to which the brightest background rounds, is less.
_WHITE = np.float32(255.5)


def _prepare(image: NDArray[np.generic], input_wh: tuple[int, int]) -> Prepared:
    # A float image is the generator's own, which 8 bits would round.
    if image.ndim == 2 and image.dtype == np.float32 and image.shape == input_wh[::-1]:
        _, box = letterbox(np.zeros(image.shape, np.uint8), input_wh)
        return Prepared(image[None, None].astype(np.float32, copy=False), box)
    grey = to_grey(to_rgb(image))
    canvas, box = letterbox(grey, input_wh)
    return Prepared(canvas[None, None].astype(np.float32) / _WHITE, box)


def _check(interface: Interface) -> None:
    if interface.output_shapes != ((1, 6),):
        raise ModelError(f"the network's outputs have shapes {list(interface.output_shapes)}, expected one of (1, 6)")


def _decode(
    outputs: Sequence[Array32], prepared: Prepared, labels: tuple[str, ...], options: DecodeOptions
) -> OrientedBoxes:
    found = decode_oriented(outputs[0][0], options.score_threshold)
    if found is None:
        return OrientedBoxes()
    x, y = prepared.box.to_image(np.array([found.x, found.y])).tolist()
    scale_x, scale_y = prepared.box.scale
    box = dataclasses.replace(found, x=x, y=y, width=found.width / scale_x, height=found.height / scale_y)
    return OrientedBoxes((box,))


def _check_list(interface: Interface) -> None:
    shapes = interface.output_shapes
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][::2] != (1, 7):
        raise ModelError(f"the network's outputs have shapes {list(shapes)}, expected one of (1, N, 7)")


def _decode_list(
    outputs: Sequence[Array32], prepared: Prepared, labels: tuple[str, ...], options: DecodeOptions
) -> OrientedBoxes:
    """Return the boxes of a network that finds any number, of those of a class that overlap the best."""
    rows = outputs[0][0].astype(np.float64)
    is_class = (rows[:, 0] >= 0) & (rows[:, 0] < len(labels))
    rows = rows[(rows[:, 1] >= options.score_threshold) & (rows[:, 5:].min(axis=1) > 0) & is_class]
    rows = rows[np.isfinite(rows).all(axis=1)]
    rows = rows[np.argsort(-rows[:, 1], kind="stable")[:_MOST_CANDIDATES]]
    scale = float(np.sqrt(np.prod(prepared.box.scale)))
    kept: list[OrientedBox] = []
    for (class_id, score, *_, yaw, width, height), (x, y) in zip(rows, prepared.box.to_image(rows[:, 2:4])):
        turn = float(yaw % (2.0 * np.pi))
        box = OrientedBox(float(x), float(y), turn, width / scale, height / scale, min(score, 1.0), int(class_id))
        same = (other for other in kept if other.class_id == box.class_id)
        if len(kept) < options.max_detections and all(box.iou(other) <= options.iou_threshold for other in same):
            kept.append(box)
    return OrientedBoxes(tuple(kept))


def _summarise(result: OrientedBoxes, labels: Sequence[str]) -> str:
    boxes = (
        f"{labels[box.class_id]} {box.score:.2f} at ({box.x:.1f}, {box.y:.1f}) px, yaw {box.yaw:.2f} rad"
        for box in result
    )
    return "; ".join(boxes) or "nothing"


def _draw(rgb: Image, result: OrientedBoxes, labels: Sequence[str]) -> Image:
    """Draw each box, and a line from its centre along its heading."""
    canvas = Canvas(rgb)
    for box in result:
        corners = box.corners
        for start, end in zip(corners, np.roll(corners, -1, axis=0)):
            canvas.line(start, end, class_color(box.class_id), 2.0)
        canvas.line(np.array([box.x, box.y]), corners[2:].mean(axis=0), class_color(box.class_id + 1), 2.0)
        canvas.tag(f"{box.score:.2f}", corners.min(axis=0), class_color(box.class_id))
    return canvas.finish()


def _score(
    results: Sequence[OrientedBoxes], truths: Sequence[OrientedBoxes], labels: tuple[str, ...]
) -> dict[str, float]:
    score = score_oriented([result.best for result in results], [truth.best for truth in truths])
    return dataclasses.asdict(score)


ORIENTED = Task[OrientedBoxes, OrientedBoxes](
    name="oriented",
    summary="oriented boxes with a heading",
    layouts=(LAYOUT,),
    metric="score_iou07",
    json_type=OrientedBoxesJson,
    default_model="oriented.onnx",
    prepare=_prepare,
    decode=_decode,
    to_json=OrientedBoxes.to_json,
    summarise=_summarise,
    draw=_draw,
    score=_score,
    check=_check,
    options=DecodeOptions(score_threshold=SCORE_THRESHOLD),
    scored_options=DecodeOptions(score_threshold=0.0),
)

ORIENTED_LIST = dataclasses.replace(
    ORIENTED,
    layouts=(LIST_LAYOUT,),
    prepare=prepare_rgb,
    decode=_decode_list,
    check=_check_list,
    options=DecodeOptions(),
)
