"""The gate before a model is promoted: beside the champion on a pinned test set, in one run.

Both models answer each sample in turn, so that the machine treats them alike; ``gate_requirements.py`` has what the
candidate has to reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import ConfigError
from object_pose.core.metrics.drift import (
    DriftReference,
    describe_depth,
    describe_detections,
    describe_image,
    describe_poses,
)
from object_pose.core.metrics.pose import FrameMatches, match_frame, score_frames
from object_pose.core.params import make_config
from object_pose.core.pose.config import LIVE
from object_pose.core.results.detections import Detections
from object_pose.evaluation.pose_runner import MIN_SCORE, LabelledFrame, bop_frames
from object_pose.evaluation.samples import TEST_SEED, Sample, read_samples
from object_pose.evaluation.views import VIEWS
from object_pose.runtime.card import ModelCard
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.timing import StageClock
from object_pose.tasks.registry import find_task
from object_pose.workflows.gate_requirements import (
    GateCheck,
    GateConfig,
    Interval,
    as_accurate,
    enough_samples,
    fast_enough,
    good_enough,
    not_worse,
    paired_bootstrap,
    parity,
    recall_kept,
    same_interface,
)
from object_pose.workflows.progress import ProgressCallback, ignore_progress, reported

_WORST = 10


@dataclass(frozen=True)
class TestSet:
    """What models are compared on: labelled ``data`` of a ``digest``, or ``rendered`` samples of a ``seed``.

    ``scene`` are the options by name of the scenes that poses are rendered in, where they are not those of the tests.
    """

    __test__ = False  # no class of tests

    data: Path | None = None
    rendered: int = 0
    seed: int = TEST_SEED
    objects: str = "parts"
    digest: str = ""
    scene: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.data is None) == (self.rendered == 0):
            raise ConfigError("the gate has no test set", "name labelled data, or a number of rendered samples")

    def to_json(self) -> dict[str, Any]:
        """Return the test set as JSON values."""
        data = str(self.data) if self.data else ""
        return {**vars(self), "data": data}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TestSet:
        """Return what ``to_json`` gave."""
        return cls(**{**record, "data": Path(record["data"]) if record["data"] else None})


@dataclass(frozen=True)
class GateReport:
    """What the gate found. ``figures`` are of candidate and champion by name, ``worst`` the samples that lost most."""

    task: str
    candidate: str
    champion: str
    samples: int
    checks: tuple[GateCheck, ...]
    figures: Mapping[str, Mapping[str, float]]
    difference: Interval | None
    worst: tuple[tuple[str, float, float], ...]
    test_set: TestSet

    @property
    def passed(self) -> bool:
        """Whether no requirement is missed."""
        return all(check.is_met is not False for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; figures that do not exist become null."""
        figures = {
            model: {name: None if math.isnan(v) else round(v, 5) for name, v in values.items()}
            for model, values in self.figures.items()
        }
        return {
            "passed": self.passed,
            "task": self.task,
            "candidate": self.candidate,
            "champion": self.champion,
            "samples": self.samples,
            "checks": [vars(check) for check in self.checks],
            "figures": figures,
            "difference": vars(self.difference) if self.difference else None,
            "worst": [{"sample": n, "candidate": c, "champion": o} for n, c, o in self.worst],
            "test_set": self.test_set.to_json(),
        }


@dataclass(frozen=True)
class GateResult:
    """The report, and what input and answers looked like on the test set: the reference of the monitor."""

    report: GateReport
    reference: DriftReference


@dataclass(frozen=True)
class _Answer:
    """What one model made of one sample; ``outcome`` is what its task's figures are made of."""

    quality: float
    outcome: Any
    milliseconds: float
    statistics: Mapping[str, float]


# A sample with its name, image, depth, and what a model makes of it.
_Case = tuple[str, Any, Any, Callable[[Any], _Answer]]


def run_gate(
    candidate: Path,
    champion: Path | None,
    test_set: TestSet,
    config: GateConfig | None = None,
    run_dir: Path | None = None,
    progress: ProgressCallback = ignore_progress,
) -> GateResult:
    """Compare a candidate with the champion, None for the first of its name; ``run_dir`` has the candidate's weights.

    Raises ``ModelError`` for a file that is no model and ``DataError`` for a faulty test set.
    """
    config = config or GateConfig()
    paths = [candidate] if champion is None else [candidate, champion]
    predictors = [Predictor(path) for path in paths]
    cards = [item.card for item in predictors]
    checks = [same_interface(*cards)] if champion else []
    is_comparable = all(check.is_met for check in checks)
    models = [_as_measured(item) for item in (predictors if is_comparable else predictors[:1])]
    answers, names, statistics, descriptors = _answers(models, cards[0], test_set, progress)
    if len(names) < 2:
        raise ConfigError(f"the test set has {len(names)} samples", "take at least two")
    checks += [enough_samples(len(names), config), parity(candidate, run_dir)]
    qualities = np.array([[answer.quality for answer in row] for row in answers])  # (models, N)
    difference = None
    if len(qualities) == 2:
        difference = paired_bootstrap(qualities[0] - qualities[1], config.confidence, config.resamples)
        checks += [not_worse(difference, config), *_pose_checks(answers, config)]
        times_ms = [[answer.milliseconds for answer in row] for row in answers]
        checks.append(fast_enough(times_ms[0], times_ms[1], config))
    elif champion is None:
        checks.append(good_enough(float(qualities[0].mean()), config))
    report = GateReport(
        cards[0].task,
        str(candidate),
        str(champion or ""),
        len(names),
        tuple(checks),
        {model: _figures(row, cards[0]) for model, row in zip(("candidate", "champion"), answers)},
        difference,
        _lost_most(names, qualities),
        test_set,
    )
    return GateResult(report, DriftReference.of(statistics, descriptors))


def write_gate_report(report: GateReport, folder: Path) -> None:
    """Write report.html and report.json."""
    from object_pose.evaluation.reports.gate.report import write_report  # only here: it needs matplotlib and Jinja2

    write_report(report.to_json(), folder)


def _as_measured(predictor: Predictor) -> Predictor | PoseEstimator:
    """Return a model as its task is scored; one of poses as live frames are registered."""
    if predictor.task.name == "pose" and predictor.card.objects:
        return PoseEstimator(predictor.with_decoding(LIVE.decoding))
    return predictor.with_decoding(predictor.task.scored_options)


def _answers(
    models: Sequence[Any], card: ModelCard, test_set: TestSet, progress: ProgressCallback
) -> tuple[list[list[_Answer]], list[str], list[dict[str, float]], list[Array]]:
    """Return each model's answers, the samples' names, and statistics and descriptors of the first model's frames."""
    is_pose = isinstance(models[0], PoseEstimator)
    cases = _pose_cases(card, test_set) if is_pose else _task_cases(card, test_set)
    answers: list[list[_Answer]] = [[] for _ in models]
    names, statistics, descriptors = [], [], []
    for number, (name, image, depth_m, answer) in enumerate(reported(cases, progress, "gate", test_set.rendered)):
        order = range(len(models)) if number % 2 else reversed(range(len(models)))  # who is first warms the caches
        for index in order:
            answers[index].append(answer(models[index]))
        of_image, descriptor = describe_image(np.asarray(image))
        of_depth = {} if depth_m is None else describe_depth(depth_m)
        names.append(name)
        statistics.append({**of_image, **of_depth, **answers[0][-1].statistics})
        descriptors.append(descriptor)
    return answers, names, statistics, descriptors


def _task_cases(card: ModelCard, test_set: TestSet) -> Iterator[_Case]:
    for sample in _samples(card, test_set):
        yield sample.name, _rgb(sample.image), None, partial(_predicted, sample)


def _predicted(sample: Sample, predictor: Predictor) -> _Answer:
    clock = StageClock()
    with clock.stage("all"):
        result = predictor.predict(sample.image, depth=sample.depth)
    quality = VIEWS[predictor.task.name].quality(result, sample.truth)
    is_detected = isinstance(result, Detections)
    # Scored are all boxes, seen in use those of the task's usual options.
    min_score = predictor.task.options.score_threshold
    statistics = describe_detections(result, min_score) if is_detected else {}
    return _Answer(quality, (result, sample.truth), clock.timings_ms["all"], statistics)


def _samples(card: ModelCard, test_set: TestSet) -> Iterator[Sample]:
    if test_set.data:
        return read_samples(card.task, test_set.data, card)
    from object_pose.evaluation.rendered import rendered_samples  # only here: data on disk need no renderer

    return rendered_samples(card.task, test_set.rendered, test_set.seed, card)


def _rgb(image: Any) -> Any:
    grey = np.asarray(image)
    return np.repeat(grey[..., None], 3, axis=2) if grey.ndim == 2 else grey[..., :3]


def _pose_cases(card: ModelCard, test_set: TestSet) -> Iterator[_Case]:
    for item in _frames(card, test_set):
        yield item.name, item.frame.rgb, item.frame.depth_m, partial(_estimated, item)


def _estimated(item: LabelledFrame, estimator: PoseEstimator) -> _Answer:
    estimate = estimator.register(item.frame)
    matches = match_frame(estimate.results.poses, item.truths, estimator.card.objects).above(MIN_SCORE)
    statistics = describe_poses(estimate.results)
    return _Answer(_f1(matches), matches, estimate.timings_ms["total"], statistics)


def _f1(matches: FrameMatches) -> float:
    """Return F1 of the accepted poses of a frame, 1 where rightly nothing was found."""
    right = sum(match.is_correct for match in matches.matches)
    total = 2 * len(matches.matches) + len(matches.missed) + len(matches.false_poses)
    return 2.0 * right / total if total else 1.0


def _frames(card: ModelCard, test_set: TestSet) -> Iterator[LabelledFrame]:
    if test_set.data:
        return bop_frames(test_set.data, card.labels)
    from object_pose.evaluation.rendered import rendered_frames
    from object_pose.simulation.scenes.scene import TEST_SCENES, SceneConfig

    scene = make_config(SceneConfig, test_set.scene) if test_set.scene else TEST_SCENES
    return rendered_frames(test_set.objects, test_set.rendered, test_set.seed, scene)


def _figures(answers: Sequence[_Answer], card: ModelCard) -> dict[str, float]:
    """Return the task's figures, mean quality and median time."""
    common = {
        "quality": float(np.mean([answer.quality for answer in answers])),
        "median_ms": float(np.median([answer.milliseconds for answer in answers])),
    }
    outcomes = [answer.outcome for answer in answers]
    if isinstance(outcomes[0], FrameMatches):
        score = score_frames(outcomes)
        names = ("recall_add_01d", "precision", "translation_error_mm_p50", "rotation_error_deg_p50")
        of_classes = {f"recall_{name}": recall for name, recall in score.recall_per_class.items()}
        return common | {name: float(getattr(score, name)) for name in names} | of_classes
    results, truths = zip(*outcomes)
    return common | dict(find_task(card.task).score(list(results), list(truths), card.labels))


def _pose_checks(answers: Sequence[Sequence[_Answer]], config: GateConfig) -> list[GateCheck]:
    """Check what the quality of a frame of poses does not tell: each class's recall, and how accurate poses are."""
    if not isinstance(answers[0][0].outcome, FrameMatches):
        return []
    candidate, champion = ([answer.outcome for answer in row] for row in answers)
    return [recall_kept(candidate, champion, config), as_accurate(candidate, champion, config)]


def _lost_most(names: Sequence[str], qualities: Array) -> tuple[tuple[str, float, float], ...]:
    if len(qualities) < 2:
        return ()
    order = np.argsort(qualities[0] - qualities[1], kind="stable")[:_WORST]
    rows = ((names[i], float(qualities[0, i]), float(qualities[1, i])) for i in order)
    return tuple(row for row in rows if row[1] < row[2])
