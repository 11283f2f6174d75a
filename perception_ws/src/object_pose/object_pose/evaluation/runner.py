"""A model of any task against labelled samples: its figures, and the cases that it did worst and best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from object_pose.core.errors import DataError
from object_pose.evaluation.samples import Sample
from object_pose.evaluation.views import VIEWS
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.timing import StageClock
from object_pose.tasks.registry import find_task

KEPT_CASES = 6


@dataclass(frozen=True)
class Case:
    """One sample and what was predicted; ``quality`` in [0, 1], 1 where nothing could be better."""

    sample: Sample
    result: Any
    quality: float


@dataclass(frozen=True)
class TaskEvaluation:
    """What an evaluation found: figures over all samples, and everything that plots and pictures are made of."""

    task: str
    labels: tuple[str, ...]
    figures: dict[str, float]
    results: tuple[Any, ...]
    truths: tuple[Any, ...]
    worst: tuple[Case, ...]
    best: tuple[Case, ...]
    image_ms: float

    def to_json(self) -> dict[str, Any]:
        """Return task, figures, number of samples and median time; figures that do not exist become null."""
        figures = {name: None if math.isnan(value) else round(value, 5) for name, value in self.figures.items()}
        return {"task": self.task, "samples": len(self.truths), **figures, "image_ms": round(self.image_ms, 2)}


@dataclass(frozen=True)
class Prediction:
    """What a model said of a sample, and how long it took."""

    result: Any
    time_ms: float


def predict_sample(predictor: Predictor, sample: Sample) -> Prediction:
    """Predict one sample."""
    clock = StageClock()
    with clock.stage("all"):
        result = predictor.predict(sample.image, depth=sample.depth)
    return Prediction(result, clock.timings_ms["all"])


def evaluate_task(predictor: Predictor, samples: Iterable[Sample], kept: int = KEPT_CASES) -> TaskEvaluation:
    """Predict every sample and score the whole; see ``evaluate_predictions``."""
    predicted = ((sample, predict_sample(predictor, sample)) for sample in samples)
    return evaluate_predictions(predictor, predicted, kept)


def evaluate_predictions(
    predictor: Predictor, predicted: Iterable[tuple[Sample, Prediction]], kept: int = KEPT_CASES
) -> TaskEvaluation:
    """Score the predictions of a model; images are let go but for the ``kept`` worst and best cases.

    Raises ``DataError`` where there are no samples.
    """
    labels, view = predictor.card.labels, VIEWS[predictor.task.name]
    results, truths, times_ms = [], [], []
    worst: tuple[Case, ...] = ()
    best: tuple[Case, ...] = ()
    for sample, prediction in predicted:
        result = prediction.result
        case = Case(sample, result, view.quality(result, sample.truth))
        worst, best = _worst([*worst, case], kept), _best([*best, case], kept)
        results.append(result)
        truths.append(sample.truth)
        times_ms.append(prediction.time_ms)
    if not results:
        raise DataError("there are no samples to evaluate")
    return TaskEvaluation(
        predictor.task.name,
        labels,
        predictor.task.score(results, truths, labels),
        tuple(results),
        tuple(truths),
        worst,
        best,
        float(np.median(times_ms)),
    )


def pool(evaluations: Sequence[TaskEvaluation], kept: int = KEPT_CASES) -> TaskEvaluation:
    """Return the evaluation of all samples of several models of one task and the same labels, scored as one."""
    task, labels = find_task(evaluations[0].task), evaluations[0].labels
    if any(item.labels != labels for item in evaluations):
        raise DataError("models of different labels cannot be pooled")
    results = tuple(result for item in evaluations for result in item.results)
    truths = tuple(truth for item in evaluations for truth in item.truths)
    return TaskEvaluation(
        task.name,
        labels,
        task.score(results, truths, labels),
        results,
        truths,
        _worst([case for item in evaluations for case in item.worst], kept),
        _best([case for item in evaluations for case in item.best], kept),
        float(np.median([item.image_ms for item in evaluations])),
    )


def _worst(cases: Iterable[Case], kept: int) -> tuple[Case, ...]:
    return tuple(sorted(cases, key=lambda case: case.quality)[:kept])


def _best(cases: Iterable[Case], kept: int) -> tuple[Case, ...]:
    """Return the best cases; where nothing was to be found, little can be seen, so those come last."""
    return tuple(sorted(cases, key=lambda case: (_is_empty(case.sample.truth), -case.quality))[:kept])


def _is_empty(truth: Any) -> bool:
    if isinstance(truth, np.ndarray):
        return not truth.any()
    return isinstance(truth, Sized) and len(truth) == 0
