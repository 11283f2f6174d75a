"""Labels that a trained detector disagrees with: what it sees that has no label, and labels that it does not see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from object_pose.core.errors import ModelError
from object_pose.core.results.detections import Detections
from object_pose.core.vision.boxes import box_iou
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.evaluation.reports.dataset.suspicious import Finding
from object_pose.io.datasets.samples import BoxDataset, LabelledBoxes
from object_pose.io.images import read_image
from object_pose.runtime.predictor import Predictor

Progress = Callable[[Sequence[LabelledBoxes]], Iterable[LabelledBoxes]]
_CONFIDENT = 0.6
_SEEN = 0.1
# A box that a label overlaps by less than this is of another object.
_SAME_PLACE_IOU = 0.3


def compare_with_model(splits: Mapping[str, BoxDataset], model: str | Path, progress: Progress = iter) -> list[Finding]:
    """Return where a detector and the labels disagree; classes that the model does not know are left out.

    Raises ``ModelError`` for a model of another task, or of none of the data's classes.
    """
    predictor = Predictor(model, options=DecodeOptions(score_threshold=_SEEN))
    if predictor.task.name != "detect":
        raise ModelError(f"model file {model} is of the task {predictor.task.name}", "expected a detector of boxes")
    labels = next(iter(splits.values())).labels
    if not set(labels) & set(predictor.card.labels):
        raise ModelError(
            f"model file {model} knows none of the data's classes", f"it knows {', '.join(predictor.card.labels)}"
        )
    findings: list[Finding] = []
    for sample in progress([sample for dataset in splits.values() for sample in dataset.samples]):
        found = predictor.predict(read_image(sample.path))
        findings += _differences(sample, found, labels, predictor.card.labels)
    return findings


def _differences(
    sample: LabelledBoxes, found: Detections, labels: tuple[str, ...], model_labels: tuple[str, ...]
) -> list[Finding]:
    findings = []
    ious = box_iou(found.boxes_xyxy, sample.boxes_xyxy)
    known = {label: class_id for class_id, label in enumerate(labels)}
    detected = np.array([known.get(model_labels[class_id], -1) for class_id in found.class_ids], dtype=np.int64)
    for index in np.flatnonzero((found.scores >= _CONFIDENT) & (detected >= 0)).tolist():
        name, box = labels[detected[index]], found.boxes_xyxy[index][None]
        near = np.flatnonzero(ious[index] >= _SAME_PLACE_IOU)
        if len(near) == 0:
            detail = f"{name}, score {found.scores[index]:.2f}"
            findings.append(Finding("the model sees what has no label", sample.path, detail, box))
        elif detected[index] not in sample.class_ids[near]:
            other = labels[sample.class_ids[near[int(np.argmax(ious[index][near]))]]]
            detail = f"labelled {other}, detected {name}, score {found.scores[index]:.2f}"
            findings.append(Finding("the model sees another class", sample.path, detail, box))
    for index, class_id in enumerate(sample.class_ids.tolist()):
        if labels[class_id] in model_labels and not (ious[:, index] >= _SAME_PLACE_IOU).any():
            box = sample.boxes_xyxy[index][None]
            findings.append(Finding("the model does not see the label", sample.path, labels[class_id], box))
    return findings
