"""Cross-validation on real photographs: which folds there are, what each holds out, and the bars for all together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from object_pose.evaluation.bars import Bar
from object_pose.evaluation.samples import Samples, class_samples, mask_samples
from object_pose.io.datasets.class_folders import read_class_folders
from object_pose.io.datasets.folds import split_fold
from object_pose.io.datasets.mask_pairs import read_mask_pairs
from object_pose.io.datasets.samples import require_usable
from object_pose.io.datasets.tile_folds import split_tiles
from object_pose.runtime.card import ModelCard

PREFIX = "real_"
Options = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class CrossValidation:
    """``data`` in the development data is dealt into ``folds``; ``held_out`` yields what one of them keeps apart.

    ``recipe`` are the training options that suit the data, as (name, value). Every fold starts from the weights of the
    shipped model ``initial``, which saw renders only.
    """

    data: str
    description: str
    folds: int
    held_out: Callable[[Path, int, int, ModelCard], Samples]
    recipe: Options
    bars: tuple[Bar, ...]
    initial: str


def _held_out_images(data: Path, folds: int, fold: int, card: ModelCard) -> Samples:
    return class_samples(split_fold(require_usable(read_class_folders(data)), folds, fold)[1], card)


def _held_out_tiles(data: Path, folds: int, fold: int, card: ModelCard) -> Samples:
    return mask_samples(split_tiles(require_usable(read_mask_pairs(data)), folds, fold)[1])


REAL_FOLDS: dict[str, CrossValidation] = {
    "classify": CrossValidation(
        "magnetic_tiles",
        "magnetic tiles, 5 folds by file",
        5,
        _held_out_images,
        (("input-width", 320), ("input-height", 320), ("steps", 500), ("warmup-steps", 50), ("flips", True)),
        (Bar("real_accuracy", 0.95),),
        initial="inspection.onnx",
    ),
    "segment": CrossValidation(
        "footprints",
        "aerial tiles of Kampala, 4 folds by tile column",
        4,
        _held_out_tiles,
        (
            ("steps", 200),
            ("batch-size", 8),
            ("learning-rate", 1e-3),
            ("warmup-steps", 20),
            ("ema-decay", 0.98),
            ("photometric", 0.5),
            ("rendered-share", 0.25),
        ),
        (Bar("real_iou", 0.78), Bar("real_precision", 0.85), Bar("real_recall", 0.85)),
        initial="buildings.onnx",
    ),
}
