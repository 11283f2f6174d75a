"""Models that other trainers exported: a card made from Ultralytics-style metadata and the output's shape."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from object_pose.core.errors import ModelError
from object_pose.core.vision.decoders import Layout, OutputFormat
from object_pose.runtime.card import ModelCard

Shape = tuple[int, ...]

_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
_ANCHORS_PER_CELL_V5 = 3
_MAX_END_TO_END = 1000
_TASKS = ("detect", "pose")


def card_of_foreign_model(
    metadata: Mapping[str, str], output_shapes: tuple[Shape, ...], input_wh: tuple[int, int], labels: tuple[str, ...]
) -> ModelCard:
    """Return a card for a YOLO export without one; ``labels`` serve where the metadata names no classes.

    Raises ``ModelError`` when the task, the class names or the output's layout are unknown or ambiguous.
    """
    task = metadata.get("task", "pose" if "kpt_shape" in metadata else "detect")
    if task not in _TASKS:
        raise ModelError(f"the model's task is '{task}'", f"expected one of {', '.join(_TASKS)}")
    names = _names(metadata) or labels
    if not names:
        raise ModelError(
            "the model has neither a model card nor class names in its metadata",
            "set the parameter 'labels', or export it with its names",
        )
    if len(output_shapes) != 1:
        raise ModelError(f"the model has {len(output_shapes)} outputs of shapes {list(output_shapes)}, expected one")
    form = identify(metadata, output_shapes[0], input_wh, len(names), _keypoint_count(metadata, task))
    name, licence = metadata.get("description", ""), metadata.get("license", "")
    return ModelCard(task, form.layout, names, input_wh, form.keypoint_count, name=name, licence=licence)


def identify(
    metadata: Mapping[str, str], shape: Shape, input_wh: tuple[int, int], class_count: int, keypoint_count: int
) -> OutputFormat:
    """Return the one format that an output of ``shape`` fits; raises ``ModelError`` where none or several do."""
    layouts = [Layout.YOLOV8_DETECT, Layout.YOLOV5, Layout.END_TO_END]
    if keypoint_count:
        layouts = [Layout.YOLOV8_POSE, Layout.END_TO_END_POSE]
    formats = [OutputFormat(layout, class_count, keypoint_count) for layout in layouts]
    fitting = [form for form in formats if form.accepts(shape) and _count_fits(form, shape, input_wh)]
    if metadata.get("end2end") in ("True", "False"):
        fitting = [form for form in fitting if form.is_end_to_end == (metadata["end2end"] == "True")]
    if len(fitting) == 1 and not (fitting[0].is_end_to_end and "detr" in metadata.get("description", "").lower()):
        return fitting[0]
    counts = f"{class_count} classes, {keypoint_count} keypoints and a {input_wh[0]}x{input_wh[1]} input"
    problem = f"fits several layouts ({', '.join(map(str, fitting))})" if len(fitting) > 1 else "is of no known layout"
    raise ModelError(
        f"the network's output of shape {shape} {problem}",
        f"expected for {counts}: {', '.join(map(str, formats))}",
    )


def _count_fits(form: OutputFormat, shape: Shape, input_wh: tuple[int, int]) -> bool:
    """Whether the number of candidates is that of the layout's grids; end-to-end ones give a short list instead."""
    count = shape[2] if form.channels_first else shape[1]
    cells = {sum((input_wh[0] // s) * (input_wh[1] // s) for s in strides) for strides in _STRIDES}
    anchors = {_ANCHORS_PER_CELL_V5 * total for total in cells}
    if form.is_end_to_end:
        return count <= _MAX_END_TO_END and count not in anchors
    return count in (anchors if form.layout is Layout.YOLOV5 else cells)


def _names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Class names in the order of their ids, from ``{0: 'a', 1: 'b'}`` or ``['a', 'b']``; empty without any."""
    names = _literal(metadata, "names", {})
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise ModelError(f"the model's metadata 'names' skips class ids: {sorted(names)}")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list):
        raise ModelError(f"the model's metadata 'names' is neither a list nor a mapping: {names!r}")
    return tuple(map(str, names))


def _keypoint_count(metadata: Mapping[str, str], task: str) -> int:
    if task != "pose":
        return 0
    shape = _literal(metadata, "kpt_shape", None)
    if not (isinstance(shape, (list, tuple)) and len(shape) == 2 and isinstance(shape[0], int) and shape[1] == 3):
        raise ModelError(
            f"the pose model's metadata 'kpt_shape' is {shape}", "expected [K, 3]: x, y and visibility per keypoint"
        )
    return shape[0]


def _literal(metadata: Mapping[str, str], key: str, default: Any) -> Any:
    if key not in metadata:
        return default
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError) as error:
        raise ModelError(f"the model's metadata '{key}' cannot be read: {metadata[key][:80]!r}") from error
