"""Splits of data sets: at random by groups that belong together, and folds for cross-validation."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import ConfigError, DataError
from object_pose.io.datasets.near_duplicates import find_near_duplicates, join_groups, make_thumbnail
from object_pose.io.datasets.samples import BoxDataset, ClassDataset, Dataset, MaskDataset
from object_pose.io.images import read_image

# What Roboflow and converters append to the name of the file that an image was.
_EXPORT_SUFFIX = re.compile(r"_(jpe?g|png|bmp|webp)(\.rf\.[0-9a-f]+)?$", re.IGNORECASE)
_FRAME_NUMBER = re.compile(r"[ _.\-]*[0-9]+$")
_NUMBER = re.compile(r"\d+")
_SHUFFLE_SEED = 0


def recording_of(path: Path) -> str:
    """Return a file's name without export suffix and frame number, which names its recording; '' where that is all."""
    name = path.stem
    while (shorter := _EXPORT_SUFFIX.sub("", name)) != name:
        name = shorter
    return _FRAME_NUMBER.sub("", name)


def group_images(
    paths: Sequence[Path], group: str, progress: Callable[[Sequence[Path]], Iterable[Path]] = iter
) -> NDArray[np.int64]:
    """Return the number of each image's group: near-duplicates are together, and what ``group`` says.

    ``group`` is 'recording', 'none', or a regular expression whose first group names it. Raises ``ConfigError`` for
    another text, ``DataError`` where a file's name does not match.
    """
    if group == "none":
        names: list[str] = []
    elif group == "recording":
        names = [recording_of(path) or path.stem for path in paths]
    else:
        pattern = _pattern(group)
        names = [_matched(path, pattern) for path in paths]
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    pairs = [(first[name], place) for place, name in enumerate(names)]
    thumbnails = [make_thumbnail(read_image(path)) for path in progress(paths)]
    return join_groups(len(paths), [*pairs, *((pair.first, pair.second) for pair in find_near_duplicates(thumbnails))])


def split_dataset(
    dataset: Dataset, groups: NDArray[np.int64], shares: Mapping[str, float], seed: int
) -> dict[str, Dataset]:
    """Return the splits of a data set by name, whole groups (N,) together; see ``assign_splits``."""
    chosen = assign_splits(groups, _contents(dataset), list(shares.values()), seed)
    return {name: _select(dataset, chosen == index) for index, name in enumerate(shares)}


def parse_shares(text: str) -> dict[str, float]:
    """Return the shares of ``train=0.8,val=0.2`` by name, scaled to a sum of one; raises ``ConfigError``."""
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, _, value = item.strip().partition("=")
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not re.fullmatch(r"\w+", name) or not 0.0 < share < np.inf or name in shares:
            raise ConfigError(f"'{item}' is no share", "write shares as train=0.8,val=0.1,test=0.1")
        shares[name] = share
    if len(shares) < 2:
        raise ConfigError("a split needs two shares at least", "write shares as train=0.8,val=0.2")
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def assign_splits(
    groups: NDArray[np.int64], contents: NDArray[np.float64], shares: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """Return the split of each of N samples, whole groups together and every class near its share.

    ``groups`` (N,) numbers the groups, ``contents`` (N, C) counts what is to be shared out: samples, objects a class.
    Large groups are placed first, each where its contents are lacking most. Raises ``DataError`` where there are
    fewer groups than splits.
    """
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < len(shares):
        raise DataError(
            f"{len(names)} recordings cannot fill {len(shares)} splits", "ask for fewer, or group in another way"
        )
    totals = np.maximum(contents.sum(axis=0), 1e-9)
    weights = np.zeros((len(names), contents.shape[1]))
    # A class of two objects cannot be shared out as asked; it shall not outweigh those that can.
    np.add.at(weights, members, contents / totals * np.sqrt(totals / totals.max()))
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-weights[order].sum(axis=1), kind="stable")]
    wanted = np.array(shares, dtype=np.float64)
    filled = np.zeros((len(shares), contents.shape[1]))
    chosen = np.empty(len(names), dtype=np.int64)
    for position, group in enumerate(order):
        fullness = (filled / wanted[:, None]) @ weights[group]
        empty = filled.sum(axis=1) == 0.0
        if len(order) - position <= empty.sum():  # the last groups go where there is none yet
            fullness = np.where(empty, fullness, np.inf)
        # Among splits that lack it equally, the one with the largest share.
        chosen[group] = np.lexsort((-wanted, fullness))[0]
        filled[chosen[group]] += weights[group]
    return chosen[members]


def _pattern(group: str) -> re.Pattern[str]:
    try:
        return re.compile(group)
    except re.error as error:
        raise ConfigError(f"the group '{group}' is no regular expression: {error}") from error


def _matched(path: Path, pattern: re.Pattern[str]) -> str:
    match = pattern.search(path.name)
    if match is None:
        raise DataError(f"'{pattern.pattern}' is not found in the file name {path.name}")
    return match.group(1) if match.groups() else match.group()


def _contents(dataset: Dataset) -> NDArray[np.float64]:
    """Return (N, C) what each sample adds to the splits: itself, and its objects of each class."""
    ones = np.ones((len(dataset.samples), 1))
    if isinstance(dataset, BoxDataset):
        rows = [np.bincount(sample.class_ids, minlength=len(dataset.labels)) for sample in dataset.samples]
        return np.concatenate([ones, np.array(rows, dtype=np.float64)], axis=1)
    if isinstance(dataset, ClassDataset):
        return np.concatenate([ones, np.eye(len(dataset.labels))[[s.class_id for s in dataset.samples]]], axis=1)
    return ones


def _select(dataset: Dataset, mask: NDArray[np.bool_]) -> Dataset:
    chosen = np.flatnonzero(mask)
    if isinstance(dataset, BoxDataset):
        return BoxDataset(dataset.labels, tuple(dataset.samples[index] for index in chosen))
    if isinstance(dataset, ClassDataset):
        return ClassDataset(dataset.labels, tuple(dataset.samples[index] for index in chosen))
    return MaskDataset(tuple(dataset.samples[index] for index in chosen))


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


def tile_column(path: Path) -> str:
    """Return the key of a tile's column: X of its name, or the whole name where that holds no X and Y."""
    numbers = _NUMBER.findall(path.stem)
    return str(numbers[-2]) if len(numbers) >= 2 else path.stem


def fold_of_column(columns: list[str], folds: int) -> dict[str, int]:
    """Return the fold of each column: they are sorted and dealt out in turn."""
    order = sorted(set(columns), key=lambda name: (len(name), name))
    return {name: index % folds for index, name in enumerate(order)}


def split_tiles(dataset: MaskDataset, folds: int, fold: int) -> tuple[MaskDataset, MaskDataset]:
    """Return what to learn from and what fold number ``fold`` of ``folds`` holds out; -1 holds nothing out.

    Raises ``ConfigError`` for a fold that does not exist or that holds no tile.
    """
    if not -1 <= fold < folds:
        raise ConfigError(f"fold {fold} does not exist", f"choose one of 0..{folds - 1}, or -1 to hold nothing out")
    columns = [tile_column(pair.image_path) for pair in dataset.samples]
    owner = fold_of_column(columns, folds)
    held_out = tuple(pair for pair, name in zip(dataset.samples, columns) if owner[name] == fold)
    kept = tuple(pair for pair, name in zip(dataset.samples, columns) if owner[name] != fold)
    if fold >= 0 and not (held_out and kept):
        raise ConfigError(f"fold {fold} of {folds} is empty or everything", f"there are {len(owner)} columns of tiles")
    return dataclasses.replace(dataset, samples=kept), dataclasses.replace(dataset, samples=held_out)
