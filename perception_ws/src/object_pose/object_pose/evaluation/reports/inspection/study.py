"""What the inspection report measures: accuracy by split, calibration, and the cost of degraded images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Image
from object_pose.core.errors import ModelError
from object_pose.core.results.classification import Classification, score_classes
from object_pose.core.vision.image import to_grey
from object_pose.runtime.predictor import Predictor
from object_pose.simulation.generators.inspection import LABELS, Inspection, Light, inspection
from object_pose.simulation.render.lighting import held_out_lighting, random_lighting

TRAINING, VALIDATION, TEST, NEW_LIGHT = "training", "validation", "test", "test, other light"
CONFIDENT = 0.95
_KEPT_PICTURES = 6
_WILSON_Z = 1.96

OnImage = Callable[[], None]


@dataclass(frozen=True)
class Outcome:
    """One image's truth and prediction, without the image.

    ``probability`` is that of damage, ``points_at_damage`` whether the map's peak lies on the damage; ``brightness`` is
    the mean grey level and ``sharpness`` the standard deviation of the Laplacian.
    """

    seed: int
    is_damaged: bool
    damages: tuple[str, ...]
    parts: int
    changed_pixels: int
    probability: float
    points_at_damage: bool
    brightness: float
    sharpness: float

    @property
    def is_right(self) -> bool:
        """Whether the more probable class is the true one."""
        return (self.probability >= 0.5) == self.is_damaged


@dataclass(frozen=True)
class Picture:
    """An image with its prediction."""

    drawn: Inspection
    result: Classification


@dataclass(frozen=True)
class Proportion:
    """``part`` of ``whole``, with its 95 % interval (Wilson 1927)."""

    part: int
    whole: int

    @property
    def value(self) -> float:
        """The share itself; NaN of nothing."""
        return self.part / self.whole if self.whole else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Lowest and highest share that such a count is compatible with."""
        if not self.whole:
            return 0.0, 1.0
        n, p, z = self.whole, self.value, _WILSON_Z
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, float(middle - half)), min(1.0, float(middle + half))


@dataclass(frozen=True)
class Degradation:
    """Accuracy on test images degraded in one way, by the strength in ``name``."""

    kind: str
    name: str
    accuracy: Proportion


@dataclass(frozen=True)
class Study:
    """What was measured: outcomes by split, degraded images, and images to show.

    ``missed`` and ``alarms`` are damaged and undamaged test images classified wrongly, most confident errors first;
    ``hits`` are damaged ones found.
    """

    splits: dict[str, tuple[Outcome, ...]]
    degradations: tuple[Degradation, ...]
    missed: tuple[Picture, ...]
    alarms: tuple[Picture, ...]
    hits: tuple[Picture, ...]

    @property
    def test(self) -> tuple[Outcome, ...]:
        """The outcomes on unseen parts, which the figures are about."""
        return self.splits[TEST]


def figures_of(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the figures of ``score_classes``."""
    probability = probabilities(outcomes)
    true = np.array([0 if item.is_damaged else 1 for item in outcomes])
    return score_classes(np.stack([probability, 1.0 - probability], axis=1), true, LABELS)


def probabilities(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """Return the probabilities of damage (N,)."""
    return np.array([item.probability for item in outcomes], dtype=np.float64)


def truths(outcomes: Sequence[Outcome]) -> NDArray[np.bool_]:
    """Return which of N pictures show damage."""
    return np.array([item.is_damaged for item in outcomes], dtype=bool)


def accuracy(outcomes: Sequence[Outcome]) -> Proportion:
    """Return the share that was classified correctly."""
    return Proportion(sum(item.is_right for item in outcomes), len(outcomes))


def recall(outcomes: Sequence[Outcome]) -> Proportion:
    """Return the share of the damaged ones that was found."""
    return accuracy([item for item in outcomes if item.is_damaged])


def false_alarms(outcomes: Sequence[Outcome]) -> Proportion:
    """Return the share of the undamaged ones that was called damaged."""
    undamaged = [item for item in outcomes if not item.is_damaged]
    return Proportion(sum(not item.is_right for item in undamaged), len(undamaged))


def recall_by_damage(outcomes: Sequence[Outcome]) -> dict[str, Proportion]:
    """Return the share found of the pictures with one damage, by its kind, lowest first."""
    single = [item for item in outcomes if len(item.damages) == 1]
    kinds = sorted({item.damages[0] for item in single})
    shares = {kind: recall([item for item in single if item.damages[0] == kind]) for kind in kinds}
    return dict(sorted(shares.items(), key=lambda item: item[1].value))


def recall_by_size(outcomes: Sequence[Outcome], bins: int = 5) -> list[tuple[float, float, Proportion]]:
    """Return the share found by how many pixels the damage changes: equal counts a bin, (low, high, share)."""
    damaged = sorted((item for item in outcomes if item.is_damaged), key=lambda item: item.changed_pixels)
    edges = np.linspace(0, len(damaged), bins + 1).astype(int)
    groups = [damaged[low:high] for low, high in itertools.pairwise(edges) if high > low]
    return [(group[0].changed_pixels, group[-1].changed_pixels, recall(group)) for group in groups]


def accuracy_by_parts(outcomes: Sequence[Outcome]) -> dict[int, Proportion]:
    """Return the accuracy by how many parts are in the picture."""
    counts = sorted({item.parts for item in outcomes})
    return {count: accuracy([item for item in outcomes if item.parts == count]) for count in counts}


def pointing(outcomes: Sequence[Outcome]) -> Proportion:
    """Return the share of the damaged pictures that were found in which the map's peak is on the damage."""
    found = [item for item in outcomes if item.is_damaged and item.is_right]
    return Proportion(sum(item.points_at_damage for item in found), len(found))


def calibration_bins(outcomes: Sequence[Outcome], bins: int = 10) -> list[tuple[float, Proportion]]:
    """Return, by bins of the predicted probability, its mean and the share that is damaged."""
    predicted, damaged = probabilities(outcomes), truths(outcomes)
    index = np.minimum((predicted * bins).astype(int), bins - 1)
    members = [index == number for number in range(bins) if (index == number).any()]
    return [(float(predicted[m].mean()), Proportion(int(damaged[m].sum()), int(m.sum()))) for m in members]


def calibration_error(outcomes: Sequence[Outcome]) -> float:
    """Return the expected calibration error: the mean gap of predicted and true share, weighted by count."""
    bins = calibration_bins(outcomes)
    return sum(abs(mean - share.value) * share.whole for mean, share in bins) / max(len(outcomes), 1)


def threshold_for_recall(outcomes: Sequence[Outcome], wanted: float) -> tuple[float, Proportion, Proportion]:
    """Return the highest threshold that finds the ``wanted`` share of damage, with its recall and false alarms."""
    predicted, damaged = probabilities(outcomes), truths(outcomes)
    scores = np.sort(predicted[damaged])
    threshold = float(scores[int(np.floor((1.0 - wanted) * len(scores)))]) if len(scores) else float("nan")
    called = predicted >= threshold
    found = Proportion(int((called & damaged).sum()), int(damaged.sum()))
    return threshold, found, Proportion(int((called & ~damaged).sum()), int((~damaged).sum()))


def open_inspector(model: Path) -> Predictor:
    """Open a model file; raises ``ModelError`` for one that does not tell damaged from undamaged."""
    predictor = Predictor(model)
    if predictor.task.name != "classify" or predictor.card.labels != LABELS:
        raise ModelError(
            f"model file {model} is of task {predictor.task.name} with classes {list(predictor.card.labels)}",
            f"the inspection report needs a classifier of {', '.join(LABELS)}",
        )
    return predictor


def measure(inspector: Predictor, splits: Mapping[str, Sequence[int]], on_image: OnImage) -> Study:
    """Render and classify the images of every split's seeds, and some of the test's again, degraded."""
    splits_outcomes: dict[str, tuple[Outcome, ...]] = {}
    kept = _Kept()
    for name, seeds in splits.items():
        outcomes = []
        light: Light = held_out_lighting if name == NEW_LIGHT else random_lighting
        for seed in seeds:
            picture = _predict(inspector, seed, light)
            outcomes.append(_outcome(seed, picture))
            if name == TEST:
                kept.add(outcomes[-1], picture)
            on_image()
        splits_outcomes[name] = tuple(outcomes)
    degradations = _measure_degradations(inspector, _degraded(splits), on_image)
    return Study(splits_outcomes, degradations, kept.missed(), kept.alarms(), kept.hits())


def image_count(splits: Mapping[str, Sequence[int]]) -> int:
    """Return how often ``measure`` calls ``on_image``."""
    return sum(map(len, splits.values())) + len(_degraded(splits))


def _degraded(splits: Mapping[str, Sequence[int]]) -> Sequence[int]:
    return splits[TEST][: len(splits[NEW_LIGHT])]


def _predict(predictor: Predictor, seed: int, light: Light) -> Picture:
    drawn = inspection(seed, light)
    return Picture(drawn, predictor.predict(drawn.image))


def _outcome(seed: int, picture: Picture) -> Outcome:
    drawn, result = picture.drawn, picture.result
    peak = np.unravel_index(int(result.attention.argmax()), result.attention.shape)
    around = cv2.dilate(drawn.damage.astype(np.uint8), np.ones((9, 9), np.uint8))
    grey = to_grey(drawn.image)
    return Outcome(
        seed,
        drawn.class_id == 0,
        drawn.damages,
        len(drawn.parts),
        drawn.changed_pixels,
        float(result.probabilities[0]),
        bool(around[peak]),
        float(grey.mean()),
        float(cv2.Laplacian(grey, cv2.CV_32F).std()),
    )


class _Kept:
    """The images to show of those that pass by."""

    def __init__(self) -> None:
        self._wrong: dict[bool, list[tuple[float, int, Picture]]] = {True: [], False: []}
        self._hits: list[Picture] = []

    def add(self, outcome: Outcome, picture: Picture) -> None:
        """Take note of a picture."""
        if not outcome.is_right:
            ranked = self._wrong[outcome.is_damaged]
            ranked.append((-abs(outcome.probability - 0.5), outcome.seed, picture))
            ranked.sort(key=lambda item: item[:2])
            del ranked[_KEPT_PICTURES:]
        elif outcome.is_damaged and len(self._hits) < _KEPT_PICTURES:
            self._hits.append(picture)

    def missed(self) -> tuple[Picture, ...]:
        """Damaged ones that were not found, most confident errors first."""
        return tuple(item[2] for item in self._wrong[True])

    def alarms(self) -> tuple[Picture, ...]:
        """Undamaged ones that were called damaged, most confident errors first."""
        return tuple(item[2] for item in self._wrong[False])

    def hits(self) -> tuple[Picture, ...]:
        """The first damaged ones that were found."""
        return tuple(self._hits)


def _measure_degradations(predictor: Predictor, seeds: Sequence[int], on_image: OnImage) -> tuple[Degradation, ...]:
    """Classify test images under each degradation."""
    right = dict.fromkeys(_DEGRADATIONS, 0)
    for seed in seeds:
        drawn = inspection(seed)
        rng = np.random.default_rng(seed)
        for key, (_, change) in _DEGRADATIONS.items():
            right[key] += int(predictor.predict(change(drawn.image, rng)).class_id == drawn.class_id)
        on_image()
    return tuple(
        Degradation(kind, name, Proportion(right[name], len(seeds))) for name, (kind, _) in _DEGRADATIONS.items()
    )


Change = Callable[[Image, np.random.Generator], Image]


def _gain(factor: float) -> Change:
    return lambda image, rng: np.clip(image * factor, 0, 255).astype(np.uint8)


def _blur(sigma: float) -> Change:
    return lambda image, rng: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)


def _noise(levels: float) -> Change:
    return lambda image, rng: np.clip(image + rng.normal(0.0, levels, image.shape), 0, 255).astype(np.uint8)


def _resolution(share: float) -> Change:
    def change(image: Image, rng: np.random.Generator) -> Image:
        small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8)

    return change


def _jpeg(quality: int) -> Change:
    def change(image: Image, rng: np.random.Generator) -> Image:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)

    return change


_DEGRADATIONS: dict[str, tuple[str, Change]] = {
    "as taken": ("reference", lambda image, rng: image),
    "half the light": ("exposure", _gain(0.5)),
    "a quarter of the light": ("exposure", _gain(0.25)),
    "overexposed twofold": ("exposure", _gain(2.0)),
    "out of focus, 1 px": ("focus", _blur(1.0)),
    "out of focus, 2 px": ("focus", _blur(2.0)),
    "noise, 8 levels": ("sensor noise", _noise(8.0)),
    "noise, 16 levels": ("sensor noise", _noise(16.0)),
    "3/4 of the resolution": ("resolution", _resolution(0.75)),
    "1/2 of the resolution": ("resolution", _resolution(0.5)),
    "JPEG quality 40": ("compression", _jpeg(40)),
}
