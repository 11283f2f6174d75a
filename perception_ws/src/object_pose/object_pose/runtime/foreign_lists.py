"""Networks that list what they found: boxes, scores and classes in outputs of their own, or rows (N, 7).

The DETR family (RT-DETR, D-FINE, DEIM, RF-DETR), exports with NMS inside (YOLOv7, TensorRT's EfficientNMS, YOLO-NAS),
torchvision's detectors and TensorFlow's Object Detection API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from object_pose.core.vision.decoders import Layout
from object_pose.runtime.foreign_format import Batch, ForeignFormat, Shape, Wh, sigmoid

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
# Boxes, scores, classes and how many of them count, as the exporters name them.
_EFFICIENT_NMS = ("det_boxes", "det_scores", "det_classes", "num_dets")
_YOLO_NAS = ("pred_boxes", "pred_scores", "pred_classes", "num_predictions")
_TENSORFLOW = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
_TORCHVISION = ("boxes", "labels", "scores")


def list_formats(outputs: Mapping[str, Shape], classes: int) -> list[tuple[ForeignFormat, bool]]:
    """Return the formats that networks of several outputs, by name, may have, and whether the shapes fit each."""
    names = set(outputs)
    for counted in (_EFFICIENT_NMS, _YOLO_NAS, _TENSORFLOW):
        if names == set(counted):
            return [_counted(counted, outputs)]
    if len(outputs) == 3 and sorted(map(len, outputs.values())) == [1, 1, 2]:
        return [_torchvision(outputs)]
    return _detr_formats(outputs, classes)


def numbered_rows() -> ForeignFormat:
    """Return the format of rows (N, 7): image number, corners, class and score, or score and class as YOLO-NAS does."""

    def convert(outputs: list[Batch], input_wh: Wh) -> list[Batch]:
        rows = outputs[0]
        has_class_last = not np.array_equal(rows[:, 5], np.rint(rows[:, 5]))
        score, class_id = (rows[:, 5], rows[:, 6]) if has_class_last else (rows[:, 6], rows[:, 5])
        return [np.column_stack([rows[:, 1:5], score, class_id])[None]]

    text = "rows (N, 7) of image, corners, class and score"
    return ForeignFormat("detect", Layout.END_TO_END, text, convert=convert)


def plain_rows() -> ForeignFormat:
    """Return the format of rows (N, 6): corners, score and class, or class, score and corners as Paddle does."""

    def convert(outputs: list[Batch], input_wh: Wh) -> list[Batch]:
        rows = outputs[0]
        is_usual = np.array_equal(rows[:, 5], np.rint(rows[:, 5])) and bool((np.abs(rows[:, 4]) <= 1.0).all())
        return [(rows if is_usual else rows[:, [2, 3, 4, 5, 1, 0]])[None]]

    text = "rows (N, 6) of corners, score and class"
    return ForeignFormat("detect", Layout.END_TO_END, text, convert=convert)


def _counted(names: Sequence[str], outputs: Mapping[str, Shape]) -> tuple[ForeignFormat, bool]:
    """Read boxes (1, N, 4), scores (1, N) and classes (1, N), of which the first ones count."""
    boxes, scores, classes, number = names
    order, is_tensorflow = list(outputs), names is _TENSORFLOW

    def convert(found: list[Batch], input_wh: Wh) -> list[Batch]:
        by_name = dict(zip(order, found))
        corners, class_ids = by_name[boxes][0], by_name[classes][0]
        if is_tensorflow:  # y before x, as shares of the image
            corners = corners[:, [1, 0, 3, 2]] * np.tile(np.array(input_wh, np.float32), 2)
        count = int(np.clip(np.nan_to_num(by_name[number].ravel()[0]), 0, len(corners)))
        return [np.column_stack([corners, by_name[scores][0], class_ids])[None, :count]]

    length = outputs[boxes][1] if len(outputs[boxes]) == 3 else -1
    fits = outputs[boxes] == (1, length, 4) and outputs[scores] == outputs[classes] == (1, length)
    fits &= outputs[number] in ((1,), (1, 1))
    text = f"{boxes} (1, N, 4), {scores} (1, N), {classes} (1, N) and {number}"
    return ForeignFormat("detect", Layout.END_TO_END, text, convert=convert, has_background=is_tensorflow), fits


def _torchvision(outputs: Mapping[str, Shape]) -> tuple[ForeignFormat, bool]:
    """Read boxes (N, 4), labels (N) and scores (N) in this order, or by these names."""
    order = list(outputs)
    names = _TORCHVISION if set(order) == set(_TORCHVISION) else order

    def convert(found: list[Batch], input_wh: Wh) -> list[Batch]:
        by_name = dict(zip(order, found))
        boxes, labels, scores = (by_name[name] for name in names)
        return [np.column_stack([boxes, scores, labels])[None]]

    shapes = [outputs[name] for name in names]
    fits = shapes == [(shapes[1][0], 4), (shapes[1][0],), (shapes[1][0],)]
    text = "torchvision's boxes (N, 4), labels (N) and scores (N)"
    return ForeignFormat("detect", Layout.END_TO_END, text, convert=convert, has_background=True), fits


def _detr_formats(outputs: Mapping[str, Shape], classes: int) -> list[tuple[ForeignFormat, bool]]:
    """Read labels, boxes and scores, or logits and boxes, in whatever order they come."""
    names, order = set(outputs), list(outputs)
    if names == {"labels", "boxes", "scores"}:
        count = outputs["boxes"][1] if len(outputs["boxes"]) == 3 else -1
        fits = outputs == {"labels": (1, count), "boxes": (1, count, 4), "scores": (1, count)}

        def join(found: list[Batch], input_wh: Wh) -> list[Batch]:
            by_name = dict(zip(order, found))
            columns = by_name["boxes"], by_name["scores"][..., None], by_name["labels"][..., None]
            return [np.concatenate(columns, axis=-1)]

        text = "labels (1, N), boxes (1, N, 4) and scores (1, N)"
        return [(ForeignFormat("detect", Layout.END_TO_END, text, convert=join), fits)]
    boxes, logits = ("dets", "labels") if "dets" in names else ("pred_boxes", "logits")
    text = f"pred_boxes (1, N, 4) and logits (1, N, {classes})"
    # RF-DETR keeps a class of none at the end.
    is_rf = boxes == "dets"
    widths = (classes, classes + 1) if is_rf else (classes,)
    fits = names == {boxes, logits} and outputs[boxes][2:] == (4,) and outputs[logits][2:] in [(n,) for n in widths]

    def read(found: list[Batch], input_wh: Wh) -> list[Batch]:
        by_name = dict(zip(order, found))
        scores = sigmoid(by_name[logits][..., :classes])
        return decode_relative([np.concatenate([by_name[boxes], scores], axis=-1)], input_wh)

    if is_rf:
        return [(ForeignFormat("detect", Layout.YOLOV8_DETECT, text, prepare=_normalised, convert=read), fits)]
    return [(ForeignFormat("detect", Layout.YOLOV8_DETECT, text, convert=read), fits)]


def decode_relative(outputs: list[Batch], input_wh: Wh) -> list[Batch]:
    """Return (1, N, 4 + C) of boxes as shares of the image as (1, 4 + C, N) in pixels."""
    rows = outputs[0].copy()
    rows[..., :4] *= np.tile(np.array(input_wh, np.float32), 2)
    return [np.swapaxes(rows, 1, 2)]


def _normalised(batch: Batch) -> Batch:
    return np.asarray((batch - _IMAGENET_MEAN) / _IMAGENET_STD, dtype=np.float32)
