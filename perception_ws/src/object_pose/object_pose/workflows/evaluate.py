"""A model of any task on labelled data or simulated samples: figures, and a folder with pictures, curves and tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import cv2

from object_pose.core.errors import ConfigError
from object_pose.core.metrics.pose import MIN_VISIBILITY, FrameMatches
from object_pose.evaluation.bop_scorer import BopScorer, Meshes, bop_meshes, bop_models_folder
from object_pose.evaluation.pose_runner import (
    LabelledFrame,
    PoseEvaluation,
    bop_frames,
    evaluate_estimates,
)
from object_pose.evaluation.runner import Prediction, TaskEvaluation, evaluate_predictions, predict_sample
from object_pose.evaluation.samples import (
    TEST_COUNTS,
    TEST_SEED,
    Sample,
    Samples,
    read_samples,
)
from object_pose.io.bop import bop_names
from object_pose.io.run_folder import RunFolder
from object_pose.io.writers import BopCsvWriter, bop_csv
from object_pose.runtime.estimator_settings import EstimatorSettings, PredictorSettings
from object_pose.runtime.pose_estimator import FrameEstimate, PoseEstimator
from object_pose.runtime.predictor import Predictor
from object_pose.workflows.parallel import Runner, in_order, run_here
from object_pose.workflows.progress import ProgressCallback, ignore_progress, reported

_WORST_FRAMES = 12
_MS_PER_S = 1e3
_TIME_UNKNOWN = -1.0

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")
Predict = Callable[[Iterable[Sample]], Iterator[tuple[Sample, Prediction]]]
Estimate = Callable[[Iterable[LabelledFrame]], Iterator[tuple[LabelledFrame, FrameEstimate]]]


@dataclass(frozen=True)
class EvaluateConfig:
    """What a model is evaluated on: ``data``, or ``rendered`` samples, or else the task's simulated test split.

    ``output`` is the folder of the report; the losses of the training run in ``run_dir`` are drawn there, too.
    """

    data: Path | None = None
    rendered: int = 0
    seed: int = TEST_SEED
    output: Path | None = None
    run_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.run_dir and not self.output:
            raise ConfigError("there is no folder for the losses of the run", "name one with --output")


@dataclass(frozen=True)
class PoseEvaluateConfig(EvaluateConfig):
    """The same for poses; ``objects`` are rendered, ``min_visibility`` is the least visible share of a target.

    ``with_times`` writes how long each image took into the result files; without it equal poses give equal files.
    """

    objects: str = "parts"
    use_depth: bool = True
    min_visibility: float = MIN_VISIBILITY
    with_times: bool = False


def predict_over(runner: Runner, settings: PredictorSettings) -> Predict:
    """Return what predicts samples wherever ``runner`` takes them, each with one thread."""
    threads = settings.config.threads or 1
    alone = replace(settings, config=replace(settings.config, threads=threads))
    return partial(_answered, runner, partial(_predict, alone))


def estimate_over(runner: Runner, settings: EstimatorSettings) -> Estimate:
    """Return what estimates frames wherever ``runner`` takes them, each with one thread.

    Raises ``ConfigError`` where objects are tracked: frames then depend on each other.
    """
    if settings.tracker:
        raise ConfigError("frames of a track depend on each other", "leave out --track, or --workers and --ray")
    threads = settings.detector.threads or 1
    alone = replace(settings, detector=replace(settings.detector, threads=threads))
    return partial(_answered, runner, partial(_estimate, alone))


def evaluate_model(
    predictor: Predictor,
    config: EvaluateConfig,
    progress: ProgressCallback = ignore_progress,
    predict: Predict | None = None,
) -> TaskEvaluation:
    """Predict every sample, score the whole, and write the report where one is wanted.

    ``predict`` does the first elsewhere. Raises ``DataError`` for faulty data, ``ConfigError`` for a task that nothing
    renders.
    """
    _check_run(config)
    samples, total = _samples(predictor, config)
    predict = predict or partial(_answered, run_here, partial(predict_sample, predictor))
    evaluation = evaluate_predictions(predictor, reported(predict(samples), progress, "evaluate", total, "image"))
    if config.output:
        # Only here, so that figures alone do not need matplotlib.
        from object_pose.evaluation.reports.evaluation.report import write_report

        write_report(evaluation, config.output, config.run_dir)
    return evaluation


def evaluate_poses(
    estimator: PoseEstimator,
    config: PoseEvaluateConfig,
    progress: ProgressCallback = ignore_progress,
    estimate: Estimate | None = None,
) -> PoseEvaluation:
    """Estimate the poses of every frame and score them, as the BOP challenge does, too.

    ``estimate`` does the first elsewhere. The report holds BOP's results.csv, one of each split and sensor where there
    are several, such as results_train_cam1.csv. A scene and a sensor have tracks of their own. Raises ``DataError``
    for faulty data.
    """
    _check_run(config)
    labels = estimator.card.labels
    frames, total = _frames(labels, config)
    estimate = estimate or partial(_answered, run_here, _in_sequence(estimator))
    estimated = reported(estimate(frames), progress, "evaluate", total)
    objects = estimator.card.objects
    scorer = BopScorer(objects, _meshes(labels, config))
    if not config.output:
        return evaluate_estimates(objects, estimated, config.min_visibility, bop=scorer)
    from object_pose.evaluation.reports.evaluation.report import FrameKeeper, write_pose_report

    keeper = FrameKeeper(_WORST_FRAMES)
    object_ids = {name: number for number, name in bop_names(labels).items()}
    with _result_files(config.output, object_ids) as result_file:

        def on_frame(item: LabelledFrame, estimate: FrameEstimate, matches: FrameMatches) -> None:
            time_s = estimate.timings_ms["total"] / _MS_PER_S if config.with_times else _TIME_UNKNOWN
            result_file(item.source).write(item.scene_id, item.image_id, estimate.results.poses, time_s)
            keeper(item, estimate, matches)

        evaluation = evaluate_estimates(objects, estimated, config.min_visibility, on_frame, scorer)
    write_pose_report(evaluation, keeper, config.output, config.run_dir)
    return evaluation


@contextmanager
def _result_files(folder: Path, object_ids: Mapping[str, int]) -> Iterator[Callable[[str], BopCsvWriter]]:
    """Yield what returns the result file of a source of frames: a row says scene and image, which others may share.

    The files appear when the block ends well.
    """
    writers: dict[Path, BopCsvWriter] = {}
    with ExitStack() as files:

        def of_source(source: str) -> BopCsvWriter:
            file = folder / f"results{source}.csv"
            if file not in writers:
                writers[file] = files.enter_context(bop_csv(file, object_ids))
            return writers[file]

        yield of_source


def _in_sequence(estimator: PoseEstimator) -> Callable[[LabelledFrame], FrameEstimate]:
    """Return what estimates frames one after the other, with tracks that end with their scene and sensor."""
    sequence: tuple[int, str] | None = None  # scene and source

    def estimate(item: LabelledFrame) -> FrameEstimate:
        nonlocal sequence
        if sequence != (item.scene_id, item.source):
            estimator.forget_tracks()
            sequence = item.scene_id, item.source
        return estimator.estimate(item.frame)

    return estimate


def _answered(
    runner: Runner, answer: Callable[[ItemT], AnswerT], items: Iterable[ItemT]
) -> Iterator[tuple[ItemT, AnswerT]]:
    """Yield items with their answers, in order; items are kept only until they are answered."""
    waiting: deque[ItemT] = deque()

    def jobs() -> Iterator[ItemT]:
        for item in items:
            waiting.append(item)
            yield item

    for result in in_order(runner(answer, jobs())):
        yield waiting.popleft(), result


def _predict(settings: PredictorSettings, sample: Sample) -> Prediction:
    predictor: Predictor = _opened(settings)
    return predict_sample(predictor, sample)


def _estimate(settings: EstimatorSettings, item: LabelledFrame) -> FrameEstimate:
    estimator: PoseEstimator = _opened(settings)
    return estimator.estimate(item.frame)


@lru_cache(maxsize=1)
def _opened(settings: Any) -> Any:
    """Open a model once in each process."""
    cv2.setNumThreads(1)
    return settings.open()


def _check_run(config: EvaluateConfig) -> None:
    """Raise ``DataError`` where the run to draw has recorded nothing, before the evaluation and not after it."""
    if config.run_dir:
        RunFolder(config.run_dir).records()


def _samples(predictor: Predictor, config: EvaluateConfig) -> tuple[Samples, int]:
    task, card = predictor.task.name, predictor.card
    if config.data:
        return read_samples(task, config.data, card), 0
    # Only here, so that data on disk do not need a renderer.
    from object_pose.evaluation.rendered import rendered_samples, test_samples

    if config.rendered:
        return rendered_samples(task, config.rendered, config.seed, card), config.rendered
    return test_samples(task, card), TEST_COUNTS.get(task, 0)


def _frames(labels: tuple[str, ...], config: PoseEvaluateConfig) -> tuple[Iterator[LabelledFrame], int]:
    if config.data:
        return bop_frames(config.data, labels, config.use_depth), 0
    from object_pose.evaluation.rendered import rendered_frames
    from object_pose.simulation.scenes.scene import TEST_SCENES

    if config.rendered:
        frames = rendered_frames(config.objects, config.rendered, config.seed, with_depth=config.use_depth)
        return frames, config.rendered
    count = TEST_COUNTS["pose"]
    return rendered_frames(config.objects, count, TEST_SEED, TEST_SCENES, config.use_depth), count


def _meshes(labels: tuple[str, ...], config: PoseEvaluateConfig) -> Meshes | None:
    """Return the surfaces that VSD needs: those of the data's models folder, or of the rendered objects."""
    if config.data:
        models = bop_models_folder(config.data)
        return bop_meshes(models, bop_names(labels)) if models else None
    from object_pose.simulation.parts.objects import load_objects

    return lambda: [item.mesh for item in load_objects(config.objects)]
