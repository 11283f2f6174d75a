"""Models that other trainers exported: their inputs and outputs as those of our layouts, and a card of their metadata.

Ultralytics YOLO (detect, pose, segment, obb; with or without NMS), YOLOv5 to v7, YOLOX, and the networks of
``foreign_lists``. Shapes tell which it is; metadata only where several fit.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import ModelError
from object_pose.core.vision.boxes import suppress
from object_pose.core.vision.decoders import Layout
from object_pose.runtime.card import ModelCard
from object_pose.runtime.foreign_format import Batch, ForeignFormat, Shape, Wh, sigmoid
from object_pose.runtime.foreign_lists import decode_relative, list_formats, numbered_rows, plain_rows
from object_pose.tasks.oriented import LIST_LAYOUT
from object_pose.tasks.segment import LAYOUT as MASK_LAYOUT

if TYPE_CHECKING:
    from object_pose.runtime.engine import Engine

_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
_ANCHORS_PER_CELL_V5 = 3
_MAP_RANK = 5  # of the raw maps (1, anchors, h, w, values) that YOLOv5 and v7 may give beside their rows
_MAX_END_TO_END = 1000
_TASKS = ("detect", "pose", "segment", "obb")
_MOST_TEXT = 1 << 20  # characters of a metadata property
_LARGEST_RAW_PX = 16.0  # of YOLOX's raw offsets from a cell, which decoded positions exceed
_BACKGROUND = ("background", "bg", "n/a")
_CLASS_COLUMN = 5  # of rows that a network lists itself
_MASK_SCORE, _MASK_IOU, _MASK_COUNT = 0.25, 0.5, 100


class ForeignNetwork:
    """A foreign network as an ``Engine`` of one of our layouts; ``first_class`` is the number of its first class."""

    def __init__(self, engine: Engine, kind: ForeignFormat, first_class: int = 0) -> None:
        self._engine, self._format, self._first_class = engine, kind, first_class
        self.name, self.metadata = engine.name, engine.metadata
        self.input_shape = engine.input_shape
        self.takes_any_size = engine.takes_any_size
        outputs = self.run(np.zeros(engine.input_shape, np.float32))
        self.output_names = tuple(f"output{index}" for index in range(len(outputs)))
        self.output_shapes = tuple(output.shape for output in outputs)

    def run(self, batch: Batch) -> list[Batch]:
        """Run the network; see ``Engine``."""
        outputs = self._engine.run(self._format.prepare(batch))
        try:
            converted = self._format.convert(outputs, (batch.shape[3], batch.shape[2]))
        except (ValueError, IndexError) as error:
            raise ModelError(f"the network's outputs do not fit together: {error}", "export it again") from error
        if self._first_class:
            converted[0][..., _CLASS_COLUMN] -= self._first_class
        return converted


def open_foreign_model(engine: Engine, labels: tuple[str, ...]) -> tuple[Engine, ModelCard]:
    """Return a network without a card as one of our layouts, with a card; ``labels`` serve where it names no classes.

    Raises ``ModelError`` when its task, its class names or the layout of its outputs are unknown or ambiguous.
    """
    metadata = engine.metadata
    names = _names(metadata) or labels
    if not names:
        raise ModelError(
            "the model has neither a model card nor class names in its metadata",
            "set the parameter 'labels', or export it with its names",
        )
    _, _, height, width = engine.input_shape
    outputs = dict(zip(engine.output_names, engine.output_shapes))
    kind = identify(metadata, outputs, (width, height), len(names))
    if kind.prepare is _to_bgr_255 and _objectness_is_one(engine):
        kind = ForeignFormat("detect", Layout.YOLOV5, "yolov6")
    names_background = names[0].strip("_ ").lower() in _BACKGROUND
    network = ForeignNetwork(engine, kind, int(kind.has_background and not names_background))
    name, licence = metadata.get("description", "")[:80], metadata.get("license", "")[:80]
    card = ModelCard(kind.task, kind.layout, names, (width, height), kind.keypoint_count, name=name, licence=licence)
    return network, card


def identify(
    metadata: Mapping[str, str], outputs: Mapping[str, Shape], input_wh: Wh, class_count: int
) -> ForeignFormat:
    """Return the one format that the outputs' shapes, by name, fit; raises ``ModelError`` where none or several do."""
    kept = [index for index, shape in enumerate(outputs.values()) if len(shape) != _MAP_RANK]
    if 0 < len(kept) < len(outputs):
        lists = {name: shape for name, shape in outputs.items() if len(shape) != _MAP_RANK}
        kind = identify(metadata, lists, input_wh, class_count)
        return replace(kind, convert=lambda found, wh: kind.convert([found[index] for index in kept], wh))
    task = metadata.get("task", "pose" if "kpt_shape" in metadata else "detect")
    if task not in _TASKS:
        raise ModelError(f"the model's task is '{task}'", f"expected one of {', '.join(_TASKS)}")
    keypoints = _keypoint_shape(metadata) if task == "pose" else (0, 0)
    fitting, expected = [], []
    for kind, fits in _formats(task, outputs, input_wh, class_count, *keypoints):
        expected.append(kind.expected)
        if fits:
            fitting.append(kind)
    if len(fitting) > 1:
        fitting = [kind for kind in fitting if _is_meant(kind, metadata)]
    if len(fitting) == 1:
        return fitting[0]
    shapes = ", ".join(str(shape) for shape in outputs.values())
    subject = f"output of shape {shapes}" if len(outputs) == 1 else f"{len(outputs)} outputs of shapes {shapes}"
    counts = f"{class_count} classes, {keypoints[0]} keypoints and a {input_wh[0]}x{input_wh[1]} input"
    problem = "fit several layouts" if len(fitting) > 1 else "are of no known layout"
    if len(outputs) == 1:
        problem = problem.replace("fit ", "fits ").replace("are ", "is ")
    raise ModelError(f"the network's {subject} {problem}", f"expected for {counts}: {', '.join(expected)}")


def _formats(
    task: str, outputs: Mapping[str, Shape], input_wh: Wh, classes: int, keypoints: int, values: int
) -> list[tuple[ForeignFormat, bool]]:
    """Return every format of a number of classes, keypoints and values per keypoint, and whether the shapes fit it."""
    shapes = list(outputs.values())
    if len(shapes) == 2 and len(shapes[1]) == 4:
        return _mask_formats(shapes[0], shapes[1], input_wh, classes)
    if len(shapes) > 1:
        return list_formats(outputs, classes)
    (shape,) = shapes
    if len(shape) == 2 and task == "detect":
        is_short = shape[0] <= _MAX_END_TO_END
        return [(numbered_rows(), is_short and shape[1] == 7), (plain_rows(), is_short and shape[1] == 6)]
    rows, columns = (shape[1], shape[2]) if len(shape) == 3 and shape[0] == 1 else (-1, -1)
    cells, anchors = _counts(input_wh)
    is_list = rows <= _MAX_END_TO_END and rows not in anchors
    if task == "obb":
        first = ForeignFormat(
            "oriented", LIST_LAYOUT, f"yolov8_obb (1, {5 + classes}, N)", convert=_from_oriented_anchors
        )
        last = ForeignFormat("oriented", LIST_LAYOUT, "end_to_end_obb (1, N, 7)", convert=_from_oriented_list)
        return [(first, columns in cells and rows == 5 + classes), (last, is_list and columns == 7)]
    if keypoints:
        width = values * keypoints
        first = ForeignFormat("pose", Layout.YOLOV8_POSE, f"yolov8_pose (1, {4 + classes + width}, N)", keypoints)
        last = ForeignFormat("pose", Layout.END_TO_END_POSE, f"end_to_end_pose (1, N, {6 + width})", keypoints)
        if values == 2:
            first = _with_visibility(first, 4 + classes, 1)
            last = _with_visibility(last, 6, 2)
        return [(first, columns in cells and rows == 4 + classes + width), (last, is_list and columns == 6 + width)]
    detect = [
        (Layout.YOLOV8_DETECT, f"(1, {4 + classes}, N)", columns in cells and rows == 4 + classes),
        (Layout.YOLOV5, f"(1, N, {5 + classes})", rows in anchors and columns == 5 + classes),
        (Layout.END_TO_END, "(1, N, 6)", is_list and columns == 6),
    ]
    found = [(ForeignFormat("detect", layout, f"{layout} {text}"), fits) for layout, text, fits in detect]
    yolox = ForeignFormat(
        "detect", Layout.YOLOV5, f"yolox (1, N, {5 + classes})", prepare=_to_bgr_255, convert=_decode_yolox
    )
    detr = ForeignFormat("detect", Layout.YOLOV8_DETECT, f"detr (1, N, {4 + classes})", convert=decode_relative)
    yolox_fits = rows in cells - anchors and columns == 5 + classes
    return [*found, (yolox, yolox_fits), (detr, is_list and rows not in cells and columns == 4 + classes)]


def _counts(input_wh: Wh) -> tuple[set[int], set[int]]:
    """Return how many rows networks of an input size may have: one a cell, and YOLOv5's three."""
    cells = {sum((input_wh[0] // s) * (input_wh[1] // s) for s in strides) for strides in _STRIDES}
    return cells, {_ANCHORS_PER_CELL_V5 * count for count in cells}


def _objectness_is_one(engine: Engine) -> bool:
    """Whether rows of YOLOX's shape are YOLOv6's, which has no objectness and says 1, and reads RGB from 0 to 1."""
    rows = engine.run(np.zeros(engine.input_shape, np.float32))[0]
    return bool((rows[..., 4] == 1.0).all())


def _is_meant(kind: ForeignFormat, metadata: Mapping[str, str]) -> bool:
    """Whether a file's metadata fit a format."""
    if kind.expected.startswith("detr") != ("detr" in metadata.get("description", "").lower()):
        return False
    has_nms = metadata.get("end2end") == "True" or "'nms': True" in metadata.get("args", "")
    return not has_nms or kind.layout in (Layout.END_TO_END, Layout.END_TO_END_POSE)


def _with_visibility(kind: ForeignFormat, start: int, axis: int) -> ForeignFormat:
    """Give keypoints of two values, which start at an index of an axis, full visibility as the third."""
    count = kind.keypoint_count

    def convert(outputs: list[Batch], input_wh: Wh) -> list[Batch]:
        rows = np.moveaxis(outputs[0], axis, -1)
        points = rows[..., start:].reshape(*rows.shape[:-1], count, 2)
        full = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
        joined = np.concatenate([rows[..., :start], full.reshape(*rows.shape[:-1], 3 * count)], axis=-1)
        return [np.moveaxis(joined, -1, axis)]

    return ForeignFormat(kind.task, kind.layout, kind.expected, count, convert=convert)


def _from_oriented_anchors(outputs: list[Batch], input_wh: Wh) -> list[Batch]:
    """Return (1, 4 + C + 1, N) of centres, sizes, class probabilities and angles as rows of our layout."""
    rows = np.swapaxes(outputs[0], 1, 2)
    best = rows[..., 4:-1].argmax(axis=-1)[..., None].astype(np.float32)
    columns = rows[..., :4], rows[..., 4:-1].max(axis=-1)[..., None], best, rows[..., -1:]
    return _from_oriented_list([np.concatenate(columns, axis=-1)], input_wh)


def _from_oriented_list(outputs: list[Batch], input_wh: Wh) -> list[Batch]:
    """Return (1, N, 7) of centre, size, score, class and angle as rows of our layout.

    Their angle turns the width's axis from x to y; our yaw turns it the other way.
    """
    x, y, width, height, score, class_id, angle = np.moveaxis(outputs[0], -1, 0)
    return [np.stack([class_id, score, x, y, -angle, width, height], axis=-1)]


def _to_bgr_255(batch: Batch) -> Batch:
    return np.ascontiguousarray(batch[:, ::-1] * np.float32(255.0))


def _decode_yolox(outputs: list[Batch], input_wh: Wh) -> list[Batch]:
    """Return YOLOX's rows with positions and sizes in pixels; an export may hold them so already."""
    (rows,) = outputs
    if np.abs(rows[..., :2]).max(initial=0.0) > _LARGEST_RAW_PX:
        return outputs
    for strides in _STRIDES:
        grids = [np.indices((input_wh[1] // s, input_wh[0] // s))[::-1].reshape(2, -1).T for s in strides]
        if sum(map(len, grids)) == rows.shape[1]:
            break
    cells = np.concatenate(grids).astype(np.float32)
    scale = np.concatenate([np.full((len(grid), 1), s, np.float32) for grid, s in zip(grids, strides)])
    sizes = np.exp(np.minimum(rows[..., 2:4], 20.0)) * scale
    return [np.concatenate([(rows[..., :2] + cells) * scale, sizes, rows[..., 4:]], axis=-1)]


def _mask_formats(shape: Shape, protos: Shape, input_wh: Wh, classes: int) -> list[tuple[ForeignFormat, bool]]:
    """Read instance masks of one class as the mask of that class: rows of boxes and weights, and prototype masks."""
    if classes != 1:
        raise ModelError(f"the model segments {classes} classes", "the task 'segment' has masks of one class")
    weights = protos[1]
    has_rows = shape[2:] == (6 + weights,)  # box, score and class; or, of YOLOv5, box, objectness and probability
    is_v5 = has_rows and shape[1] in _counts(input_wh)[1]
    text = f"boxes with {weights} mask weights, (1, {5 + weights}, N) or (1, N, {6 + weights}), and prototype masks"

    def draw(outputs: list[Batch], input_wh: Wh) -> list[Batch]:
        found = (outputs[0][0] if has_rows else outputs[0][0].T).astype(np.float64)
        if is_v5:
            found[:, 4] *= found[:, 5]
        found = found[(found[:, 4] > _MASK_SCORE) & np.isfinite(found).all(axis=1)]
        boxes = found[:, :4]
        if is_v5 or not has_rows:
            boxes = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])
        kept, _ = suppress(boxes, found[:, 4], np.zeros(len(found), np.int64), _MASK_IOU, _MASK_COUNT)
        return [_union_of_masks(boxes[kept], found[kept, -weights:], outputs[1][0], input_wh)]

    fits = len(shape) == 3 and shape[0] == protos[0] == 1 and (has_rows or shape[1] == 5 + weights)
    return [(ForeignFormat("segment", MASK_LAYOUT, text, convert=draw), fits)]


def _union_of_masks(boxes: NDArray[np.float64], weights: NDArray[np.float64], protos: Batch, input_wh: Wh) -> Batch:
    """Return the (1, 1, h, w) greatest probability of masks that are weighted sums of (M, h, w), each in its box."""
    _, height, width = protos.shape
    union = np.zeros((height, width), np.float32)
    corners = boxes * np.tile([width / input_wh[0], height / input_wh[1]], 2)
    for (left, top, right, bottom), own in zip(corners, weights):
        rows = slice(max(int(np.floor(top)), 0), max(int(np.ceil(bottom)), 0))
        columns = slice(max(int(np.floor(left)), 0), max(int(np.ceil(right)), 0))
        mask = sigmoid(np.tensordot(own.astype(np.float32), protos[:, rows, columns], axes=1))
        union[rows, columns] = np.maximum(union[rows, columns], mask)
    return union[None, None]


def size_in_metadata(metadata: Mapping[str, str]) -> tuple[int, int]:
    """Return the (height, width) that Ultralytics-style metadata name for an input that may have any."""
    size = _value(metadata, "imgsz", None)
    sides = [size, size] if isinstance(size, int) else size
    if not (isinstance(sides, (list, tuple)) and len(sides) == 2 and all(type(n) is int and n > 0 for n in sides)):
        raise ModelError(f"the model's metadata 'imgsz' is {size!r}", "expected [height, width]")
    return sides[0], sides[1]


def _names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Class names in the order of their ids, from ``{0: 'a', 1: 'b'}`` or ``['a', 'b']``; empty without any."""
    names = _value(metadata, "names", {})
    if isinstance(names, dict):
        try:
            by_id = {int(key): value for key, value in names.items()}
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"the model's metadata 'names' has class ids that are no numbers: {error}") from error
        if sorted(by_id) != list(range(len(names))):
            raise ModelError(f"the model's metadata 'names' skips class ids: {sorted(by_id)}")
        names = [by_id[index] for index in range(len(by_id))]
    if not isinstance(names, list):
        raise ModelError(f"the model's metadata 'names' is neither a list nor a mapping: {names!r}")
    return tuple(map(str, names))


def _keypoint_shape(metadata: Mapping[str, str]) -> tuple[int, int]:
    """Return the number of keypoints, and of values of each: x and y, and visibility where the network tells it."""
    shape = _value(metadata, "kpt_shape", None)
    is_pair = isinstance(shape, (list, tuple)) and len(shape) == 2 and all(type(n) is int for n in shape)
    if not (is_pair and shape[0] > 0 and shape[1] in (2, 3)):
        raise ModelError(f"the pose model's metadata 'kpt_shape' is {shape}", "expected [K, 2] or [K, 3]")
    return shape[0], shape[1]


def _value(metadata: Mapping[str, str], key: str, default: Any) -> Any:
    """Return a property that is written as Python or as JSON."""
    text = metadata.get(key)
    if text is None:
        return default
    readers: Sequence[Callable[[str], Any]] = (ast.literal_eval, json.loads)
    for read in readers if len(text) <= _MOST_TEXT else ():
        try:
            return read(text)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    raise ModelError(f"the model's metadata '{key}' cannot be read: {text[:80]!r}")
