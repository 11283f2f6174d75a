"""Recordings through a model, with or without truth, as reports; and recorded poses against recorded truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import cv2

from object_pose import __version__
from object_pose.core.errors import DataError, ModelError
from object_pose.core.object_model import ObjectModel
from object_pose.core.vision.drawing import draw_poses
from object_pose.evaluation.bags import BagRun, evaluate_recorded_poses, labelled_bag_frames, read_truths
from object_pose.evaluation.pose_runner import PoseEvaluation, evaluate_pose
from object_pose.io.annotated_bag import annotated_bag
from object_pose.io.bag_frames import RecordingConfig, read_bag_frames, read_camera_transforms
from object_pose.io.bags import describe_bag, read_bag
from object_pose.io.bop import bop_names
from object_pose.io.writers import FrameRecord, bop_csv, json_lines, write_json
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.estimator_settings import EstimatorSettings
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import find_model
from object_pose.workflows.parallel import Runner, run_here
from object_pose.workflows.progress import Progress, ProgressCallback, ignore_progress, reported

_SUMMARY = "summary.json"
_SETTINGS = "settings"


@dataclass(frozen=True)
class BagEvaluationConfig:
    """A bag, its topics, and what its frames are.

    ``geometry`` is a model file of the recorded objects; without it the one that ``detections_topic`` names is taken.
    """

    bag: Path
    truth_topic: str = "/ground_truth"
    poses_topic: str = "/object_poses"
    detections_topic: str = "/keypoint_detections"
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    geometry: str | Path | None = None


@dataclass(frozen=True)
class BagReportConfig:
    """Bags that a model is run on, frame by frame, and the folder of their reports, one folder a bag.

    Each bag is evaluated with one thread, so that results do not depend on what runs beside it. A bag whose report is
    there already, made with the same settings, is not evaluated again. Objects are tracked in ``fixed_frame`` by the
    bag's /tf where that is named, otherwise in the camera's frame.
    """

    bags: tuple[Path, ...]
    output: Path
    estimator: EstimatorSettings
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    truth_topic: str = "/ground_truth"
    fixed_frame: str = ""


def report_on_bags(
    config: BagReportConfig, progress: ProgressCallback = ignore_progress, runner: Runner = run_here
) -> dict[str, dict[str, Any]]:
    """Evaluate every bag and return the summaries by name; raises ``DataError`` for a bag that cannot be read.

    ``runner`` says where; the reports are the same everywhere.
    Each folder holds summary.json, report.html, results.jsonl, results.csv (BOP) and the bag ``annotated``.
    """
    names = _names(config.bags)
    jobs = [_Job(config, bag, config.output / name) for bag, name in zip(config.bags, names)]
    summaries: dict[str, dict[str, Any]] = {}
    progress(Progress("bags", 0, len(jobs), "bag"))
    report = partial(_report, progress=progress) if runner.is_local else _report
    for done, (place, summary) in enumerate(runner(report, jobs), start=1):
        summaries[names[place]] = summary
        progress(Progress("bags", done, len(jobs), "bag"))
    ordered = {name: summaries[name] for name in names}
    write_json(config.output / _SUMMARY, ordered)
    return ordered


@dataclass(frozen=True)
class _Job:
    config: BagReportConfig
    bag: Path
    output: Path


def _report(job: _Job, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
    """Evaluate one bag; the summary is written last and says that the rest is whole."""
    settings = _fingerprint(job)
    if (done := _finished(job.output / _SUMMARY, settings)) is not None:
        return done
    cv2.setNumThreads(1)
    config, estimator = job.config, _open(job.config.estimator)
    labels = estimator.card.labels
    truths = read_truths(job.bag, config.truth_topic, labels)
    run = BagRun(job.bag.name, estimator.card.objects, has_truth=truths is not None)
    place = read_camera_transforms(job.bag, config.fixed_frame, config.recording) if config.fixed_frame else None
    object_ids = {name: number for number, name in bop_names(labels).items()}
    frames = read_bag_frames(job.bag, config.recording)
    # Before anything is written: a bag without frames raises here.
    first = next(frames)
    frames = reported(chain([first], frames), progress, job.bag.name)
    with (
        json_lines(job.output / "results.jsonl") as records,
        bop_csv(job.output / "results.csv", object_ids) as csv,
        annotated_bag(job.output / "annotated") as annotated,
    ):
        for index, frame in enumerate(frames):
            estimate = estimator.estimate(frame, place(frame.stamp_ns) if place else None)
            results = estimate.results
            records.write(FrameRecord(f"{index:06d}", frame.stamp_ns, (estimate.detections, results)).to_json(labels))
            csv.write(0, index, results.poses)
            picture = draw_poses(frame.rgb, results.poses, frame.camera, results.rejections)
            annotated.write(frame, results.poses, picture)
            run.add(index, frame, estimate, picture, None if truths is None else truths.get(frame.stamp_ns))
    # Only here, so that figures alone do not need matplotlib.
    from object_pose.evaluation.reports.bag.report import write_bag_report

    summary = {**run.to_json(), _SETTINGS: settings}
    write_bag_report(run, summary, job.output)
    write_json(job.output / _SUMMARY, summary)
    return summary


def _open(settings: EstimatorSettings) -> PoseEstimator:
    """Open the estimator with one thread where the user names no number: the same to the bit on every machine."""
    threads = settings.detector.threads or 1
    return replace(settings, detector=replace(settings.detector, threads=threads)).open()


def _fingerprint(job: _Job) -> str:
    """Return what a report depends on, as one word."""
    config = job.config
    files = sorted(path for path in job.bag.rglob("*") if path.is_file()) if job.bag.is_dir() else [job.bag]
    described = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files if path.exists()]
    settings = replace(config.estimator, model=Path())
    model = file_sha256(config.estimator.model)
    parts = [
        __version__,
        model,
        repr(settings),
        repr(config.recording),
        config.truth_topic,
        config.fixed_frame,
        *described,
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _finished(path: Path, settings: str) -> dict[str, Any] | None:
    """Return the summary of a report that was made with these settings."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get(_SETTINGS) == settings else None


def _names(bags: tuple[Path, ...]) -> list[str]:
    """Return a folder name for each bag; those of one name are numbered."""
    names: list[str] = []
    for bag in bags:
        stem = bag.resolve().name.removesuffix(".mcap").removesuffix(".db3").removesuffix(".bag")
        names.append(next(name for name in _numbered(stem) if name not in names))
    return names


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}_{number}"
        number += 1


def evaluate_estimator_on_bag(
    estimator: PoseEstimator, config: BagEvaluationConfig, progress: ProgressCallback = ignore_progress
) -> PoseEvaluation:
    """Estimate the poses of the bag's frames that have a truth and score them; raises ``DataError`` without any."""
    frames = labelled_bag_frames(config.bag, estimator.card.labels, config.truth_topic, config.recording)
    return evaluate_pose(estimator, reported(frames, progress, "evaluate"))


def evaluate_recorded_bag(config: BagEvaluationConfig) -> PoseEvaluation:
    """Score the poses that the bag holds.

    Raises ``DataError`` where a topic is missing, ``ModelError`` where the objects' geometry is not at hand.
    """
    return evaluate_recorded_poses(config.bag, _recorded_objects(config), config.truth_topic, config.poses_topic)


def _recorded_objects(config: BagEvaluationConfig) -> tuple[ObjectModel, ...]:
    try:
        model = find_model(config.geometry or _recorded_model(config))
    except ModelError as error:
        raise ModelError(error.message, "name a model file of the same objects with --geometry") from error
    objects = load_card(model).objects
    if not objects:
        raise ModelError(f"model file {model} carries no object geometry", "name another one with --geometry")
    return objects


def _recorded_model(config: BagEvaluationConfig) -> str:
    """Return the model file that the bag names, or its name alone where the file is not here."""
    bag, topic = config.bag, config.detections_topic
    if not any(item.name == topic and item.count for item in describe_bag(bag).topics):
        raise DataError(
            f"bag {bag} has no {topic}, so it does not name its model",
            "name a model file of the same objects with --geometry",
        )
    _, _, message = next(read_bag(bag, [topic]))
    recorded = Path(message.model)
    return str(recorded) if recorded.is_file() else recorded.name
