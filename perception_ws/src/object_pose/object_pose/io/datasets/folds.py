"""Cross-validation folds of a data set of whole-image classes."""

from __future__ import annotations

import dataclasses

import numpy as np

from object_pose.core.errors import ConfigError
from object_pose.io.datasets.samples import ClassDataset

_SHUFFLE_SEED = 0


def split_fold(dataset: ClassDataset, folds: int, fold: int) -> tuple[ClassDataset, ClassDataset]:
    """Return what to learn from and what fold number ``fold`` of ``folds`` holds out; -1 holds nothing out.

    Files are dealt out by class after a shuffle that is always the same, so each file is held out by exactly one fold.
    """
    if not -1 <= fold < folds:
        raise ConfigError(f"fold {fold} does not exist", f"choose one of 0..{folds - 1}, or -1 to hold nothing out")
    samples = np.array([sample.class_id for sample in dataset.samples])
    rng = np.random.default_rng(_SHUFFLE_SEED)
    owner = np.empty(len(samples), dtype=np.int64)
    for class_id in range(len(dataset.labels)):
        members = rng.permutation(np.flatnonzero(samples == class_id))
        owner[members] = np.arange(len(members)) % folds
    kept = tuple(sample for sample, number in zip(dataset.samples, owner) if number != fold)
    held_out = tuple(sample for sample, number in zip(dataset.samples, owner) if number == fold)
    return dataclasses.replace(dataset, samples=kept), dataclasses.replace(dataset, samples=held_out)
