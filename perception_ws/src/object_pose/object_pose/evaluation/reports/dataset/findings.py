"""Labels that are probably wrong: odd or contradictory ones, and those that a trained detector disagrees with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import ModelError
from object_pose.core.results.detections import Detections
from object_pose.core.vision.boxes import box_iou
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.evaluation.reports.dataset.measurements import Duplicates, ImageFigures
from object_pose.io.datasets.mask_pairs import read_mask
from object_pose.io.datasets.samples import BoxDataset, ClassDataset, LabelledBoxes, MaskDataset
from object_pose.io.images import read_image
from object_pose.runtime.predictor import Predictor, PredictorConfig

Progress = Callable[[Sequence[LabelledBoxes]], Iterable[LabelledBoxes]]
_CONFIDENT = 0.6
_SEEN = 0.1
# A box that a label overlaps by less than this is of another object.
_SAME_PLACE_IOU = 0.3
_SAME_OBJECT_IOU = 0.85
_MIN_SIDE_SHARE = 0.01
_MAX_AREA_SHARE = 0.95
_MAX_ASPECT = 8.0
# Above this two images show the same moment, and the same objects.
_SAME_MOMENT = 0.9
_SAME_MASK_IOU = 0.5
_COVER_LIMITS = (0.001, 0.98)


@dataclass(frozen=True)
class Finding:
    """One suspicious label: what kind, in which image (or in which two), and the boxes (N, 4) in question."""

    kind: str
    path: Path
    detail: str
    boxes_xyxy: Array = field(default_factory=lambda: np.zeros((0, 4)))
    other: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Describe the finding as plain JSON values."""
        return {
            "kind": self.kind,
            "path": str(self.path),
            "detail": self.detail,
            "boxes_xyxy": np.round(self.boxes_xyxy, 1).tolist(),
            "other": str(self.other) if self.other else None,
        }


def suspicious_boxes(splits: Mapping[str, BoxDataset], duplicates: Duplicates) -> list[Finding]:
    """Return boxes that are doubled, tiny, huge or very thin, and near-duplicates whose labels differ."""
    labels = next(iter(splits.values())).labels
    samples = [sample for dataset in splits.values() for sample in dataset.samples]
    findings = [finding for sample in samples for finding in (*_doubled(sample, labels), *_odd_shapes(sample, labels))]
    for pair in duplicates.pairs:
        if pair.correlation >= _SAME_MOMENT:
            findings += _disagreement(samples[pair.first], samples[pair.second], labels)
    return findings


def suspicious_classes(
    splits: Mapping[str, ClassDataset], images: Sequence[ImageFigures], duplicates: Duplicates
) -> list[Finding]:
    """Return near-duplicates of different classes."""
    classes = [dataset.labels[sample.class_id] for dataset in splits.values() for sample in dataset.samples]
    return [
        Finding(
            "near-duplicates of two classes",
            images[pair.first].path,
            f"{classes[pair.first]} and {classes[pair.second]}, correlation {pair.correlation:.2f}",
            other=images[pair.second].path,
        )
        for pair in duplicates.pairs
        if classes[pair.first] != classes[pair.second]
    ]


def suspicious_masks(splits: Mapping[str, MaskDataset], duplicates: Duplicates) -> list[Finding]:
    """Return masks that are empty or full, and near-duplicates whose masks differ."""
    pairs = [pair for dataset in splits.values() for pair in dataset.samples]
    masks = [read_mask(pair.mask_path) for pair in pairs]
    findings = []
    for pair, mask in zip(pairs, masks):
        cover = float(mask.mean())
        if not _COVER_LIMITS[0] <= cover <= _COVER_LIMITS[1]:
            what = "empty mask" if cover < _COVER_LIMITS[0] else "full mask"
            findings.append(Finding(what, pair.image_path, f"the mask covers {cover:.1%}"))
    for near in duplicates.pairs:
        first, second = masks[near.first], masks[near.second]
        if near.correlation < _SAME_MOMENT or first.shape != second.shape:
            continue
        iou = float((first & second).sum() / max((first | second).sum(), 1))
        if iou < _SAME_MASK_IOU:
            findings.append(
                Finding(
                    "near-duplicates with different masks",
                    pairs[near.first].image_path,
                    f"the masks' IoU is {iou:.2f}",
                    other=pairs[near.second].image_path,
                )
            )
    return findings


def _doubled(sample: LabelledBoxes, labels: Sequence[str]) -> Iterator[Finding]:
    ious = box_iou(sample.boxes_xyxy, sample.boxes_xyxy)
    for first, second in np.argwhere(np.triu(ious > _SAME_OBJECT_IOU, k=1)):
        names = [labels[sample.class_ids[index]] for index in (first, second)]
        kind = "one object with two classes" if names[0] != names[1] else "one object boxed twice"
        detail = f"{' and '.join(names)}, IoU {ious[first, second]:.2f}"
        yield Finding(kind, sample.path, detail, sample.boxes_xyxy[[first, second]])


def _odd_shapes(sample: LabelledBoxes, labels: Sequence[str]) -> Iterator[Finding]:
    wh = np.array(sample.image_wh, dtype=np.float64)
    for class_id, box in zip(sample.class_ids, sample.boxes_xyxy):
        width, height = box[2:] - box[:2]
        name, size = labels[class_id], f"{width:.0f}x{height:.0f} px"
        if min(width, height) < _MIN_SIDE_SHARE * wh.min():
            yield Finding("tiny box", sample.path, f"{name}, {size}", box[None])
        elif width * height > _MAX_AREA_SHARE * wh.prod():
            yield Finding("box of the whole image", sample.path, f"{name}, {size}", box[None])
        elif max(width / height, height / width) > _MAX_ASPECT:
            yield Finding("very thin box", sample.path, f"{name}, {size}", box[None])


def _disagreement(first: LabelledBoxes, second: LabelledBoxes, labels: Sequence[str]) -> Iterable[Finding]:
    counts = [np.bincount(sample.class_ids, minlength=len(labels)) for sample in (first, second)]
    differing = np.flatnonzero(counts[0] != counts[1]).tolist()
    if not differing:
        return ()
    detail = ", ".join(f"{labels[c]}: {counts[0][c]} and {counts[1][c]}" for c in differing)
    return (Finding("near-duplicates labelled differently", first.path, detail, first.boxes_xyxy, second.path),)


def compare_with_model(splits: Mapping[str, BoxDataset], model: str | Path, progress: Progress = iter) -> list[Finding]:
    """Return where a detector and the labels disagree; classes that the model does not know are left out.

    Raises ``ModelError`` for a model of another task, or of none of the data's classes.
    """
    predictor = Predictor(model, PredictorConfig(decoding=DecodeOptions(score_threshold=_SEEN)))
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
            findings.append(Finding("detected, but not labelled", sample.path, detail, box))
        elif detected[index] not in sample.class_ids[near]:
            other = labels[sample.class_ids[near[int(np.argmax(ious[index][near]))]]]
            detail = f"labelled {other}, detected {name}, score {found.scores[index]:.2f}"
            findings.append(Finding("detected as another class", sample.path, detail, box))
    for index, class_id in enumerate(sample.class_ids.tolist()):
        if labels[class_id] in model_labels and not (ious[:, index] >= _SAME_PLACE_IOU).any():
            box = sample.boxes_xyxy[index][None]
            findings.append(Finding("labelled, but not detected", sample.path, labels[class_id], box))
    return findings
