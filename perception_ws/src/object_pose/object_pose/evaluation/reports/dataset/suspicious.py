"""Labels that are probably wrong, found without a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.vision.boxes import box_iou
from object_pose.evaluation.reports.dataset.images import Duplicates, ImageFigures
from object_pose.io.datasets.mask_pairs import read_mask
from object_pose.io.datasets.samples import BoxDataset, ClassDataset, LabelledBoxes, MaskDataset

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
