"""A model taught by what it tracks: a recording of the real scene, labelled by sure tracks and mixed with renders.

The refined model takes the former one's place only where it is not worse on frames that were held out.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from object_pose.core.errors import CancelledError, ConfigError, DataError
from object_pose.io.bag_frames import RecordingConfig, read_bag_frames
from object_pose.io.bags import describe_bag
from object_pose.io.bop_writing import write_labelled_scene
from object_pose.io.files import new_folder, replacing
from object_pose.io.run_folder import RunFolder
from object_pose.io.writers import write_json
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.workflows.export import CardText, export_run
from object_pose.workflows.progress import ProgressCallback, ignore_progress, reported
from object_pose.workflows.promote import GateConfig, GateReport, TestSet, run_gate, write_gate_report
from object_pose.workflows.teaching_frames import (
    TeachingConfig,
    diverse,
    split_by_time,
    sure_frames,
    tracked_frames,
    tracking_estimator,
)
from object_pose.workflows.train import make_job, train

_SHARES = {"pose": 0.5, "roi_head": 0.5}
_FEWEST_LEARNED = 10
_MOST_LOOKED_AT = 600  # frames, which are kept in memory until the recording ends
_GATE_FRAME_S, _EXPORT_S = 1.5, 20.0  # what a frame of both models, and the export, may take
# How the stages go on: from the former weights, at a low rate, with half of the samples from the recording.
_OPTIONS = {"learning_rate": 4e-4, "warmup_steps": 50, "data_share": 0.5, "validation_frames": 20}
_STRICT = GateConfig(max_loss=0.0, max_latency_ratio=2.0)


@dataclass(frozen=True)
class RefineConfig:
    """A folder that ``onboard`` made, or one alike, and a recording of its parts as they are really seen.

    ``minutes`` are for the whole of it. ``options`` are those of the training by name.
    """

    folder: Path
    bag: Path
    minutes: float = 20.0
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    teaching: TeachingConfig = field(default_factory=TeachingConfig)
    gate: GateConfig = _STRICT
    options: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""

    @property
    def model(self) -> Path:
        """The model that is refined."""
        return self.folder / f"{self.folder.resolve().name}.onnx"

    @property
    def output(self) -> Path:
        """Where frames, runs, the candidate and the gate's report go."""
        return self.folder / "refined" / self.bag.resolve().stem


@dataclass(frozen=True)
class RefinedModel:
    """What became of it: the frames that were learned from and held out, the steps by network, and what the gate said.

    Where ``is_kept``, ``model`` is the refined one, and ``former`` what it was before.
    """

    model: Path
    former: Path
    learned: int
    held_out: int
    steps_done: Mapping[str, int]
    is_kept: bool
    report: GateReport
    report_path: Path


def refine(config: RefineConfig, progress: ProgressCallback = ignore_progress) -> RefinedModel:
    """Label the recording by sure tracks, train on with it, compare with the former model, and keep what is not worse.

    Raises ``ConfigError`` where the folder holds no onboarded model or the recording was learned from already, and
    ``DataError`` where too little of it is sure. Raises ``CancelledError`` on Ctrl-C or where ``progress`` does.
    """
    started_at = time.monotonic()
    try:
        return _refine(config, started_at, progress)
    except (CancelledError, KeyboardInterrupt) as error:
        reason = error.message if isinstance(error, CancelledError) else "interrupted"
        raise CancelledError(
            f"{reason}; {config.model} is as it was, what is done of the refined one is kept in {config.output}",
            "the same command goes on from there",
        ) from error


def _refine(config: RefineConfig, started_at: float, progress: ProgressCallback) -> RefinedModel:
    if not config.model.exists() or not (config.folder / "models").is_dir():
        raise ConfigError(f"{config.folder} holds no onboarded model", "name the --output of 'object-pose onboard'")
    if (config.output / "result.json").exists():
        raise ConfigError(
            f"{config.output} exists: {config.bag.name} was learned from already",
            "delete that folder to learn from it once more, or name another recording",
        )
    frames = config.output / "frames"
    if not frames.exists():
        with new_folder(frames) as temporary:
            _label(config, temporary, progress)
    learned, held_out = (len(list((frames / split / "000000" / "rgb").iterdir())) for split in ("learned", "held_out"))
    candidate = config.output / config.model.name
    if not candidate.exists():
        reserve_s = _EXPORT_S + _GATE_FRAME_S * held_out
        _train(config, frames / "learned", started_at + 60.0 * config.minutes - reserve_s, progress)
        _export(config, candidate, learned)
    test_set = TestSet(frames / "held_out")
    gate = run_gate(candidate, config.model, test_set, config.gate, progress=progress)
    write_gate_report(gate.report, config.output / "gate")
    former = config.output / f"{config.model.stem}.former.onnx"
    if gate.report.passed:
        shutil.copyfile(config.model, former)
        with replacing(config.model) as temporary:
            shutil.copyfile(candidate, temporary)
    write_json(config.output / "result.json", {"is_kept": gate.report.passed, **gate.report.to_json()})
    report_path = config.output / "gate" / "report.html"
    steps = {kind: RunFolder(config.output / kind).steps_done for kind in _SHARES if (config.output / kind).exists()}
    return RefinedModel(config.model, former, learned, held_out, steps, gate.report.passed, gate.report, report_path)


def _label(config: RefineConfig, folder: Path, progress: ProgressCallback) -> None:
    """Write the sure frames of the recording as two BOP scenes, those learned from and those held out."""
    estimator, teaching = PoseEstimator(config.model), config.teaching
    counts = {topic.name: topic.count for topic in describe_bag(config.bag).topics}
    total = counts.get(config.recording.color_topic, 0)
    every = max(teaching.check_every, math.ceil(total / _MOST_LOOKED_AT))
    frames = reported(read_bag_frames(config.bag, config.recording), progress, "track", total)
    looked_at = dataclasses.replace(teaching, check_every=every)
    tracked = list(tracked_frames(frames, estimator, tracking_estimator(estimator), looked_at))
    learned, held_out = split_by_time(sure_frames(tracked, estimator.card.objects, teaching))
    chosen = diverse(learned, teaching.max_frames, teaching.min_new_deg, _FEWEST_LEARNED)
    compared = diverse(held_out, teaching.held_out_frames, teaching.min_new_deg, config.gate.min_samples)
    for name, scene, fewest in (("learned", chosen, _FEWEST_LEARNED), ("held_out", compared, config.gate.min_samples)):
        if len(scene) < fewest:
            raise DataError(
                f"{config.bag} has {len(scene)} frames with sure poses to be {name.replace('_', ' ')}, of "
                f"{len(tracked)} looked at; {fewest} are needed",
                "record for longer, from more sides, with depth, the parts in full view at times",
            )
        write_labelled_scene(folder / name / "000000", estimator.card.labels, scene)


def _train(config: RefineConfig, data: Path, ends_at: float, progress: ProgressCallback) -> None:
    """Train both networks on, as they were trained, until the time is up."""
    waiting = [kind for kind in _SHARES if (config.folder / "runs" / kind).exists()]
    if not waiting:
        raise ConfigError(f"{config.folder}/runs holds no training run", "refine where 'object-pose onboard' trained")
    while waiting:
        kind = waiting[0]
        share = _SHARES[kind] / sum(_SHARES[name] for name in waiting)
        minutes = max((ends_at - time.monotonic()) / 60.0 * share, 1e-6)
        values = {
            **_options_of(config.folder / "runs" / kind),
            **_OPTIONS,
            "objects": str(config.folder / "models"),
            "steps": 10_000_000,
            "data": str(data),
            "initial": str(config.model),
            "keep_classes": True,
            **config.options,
            "max_minutes": minutes,
        }
        job = make_job(kind, config.output / kind, values, config.command)
        job = dataclasses.replace(job, stage=f"train {kind.replace('_', '-')}")
        spent = RunFolder(job.run_dir).seconds_done
        limited = dataclasses.replace(job.training, max_minutes=minutes + spent / 60.0)
        train(dataclasses.replace(job, training=limited, spent_s=spent), resume=True, progress=progress)
        waiting.remove(kind)


def _options_of(run_dir: Path) -> dict[str, Any]:
    """Return the options of network and scenes that a run was trained with, by name, and those of its batches."""
    folder = RunFolder(run_dir)
    options: dict[str, Any] = {}
    for values in folder.settings().configs.values():
        options |= values
    training = folder.description().training
    return options | {name: training[name] for name in ("batch_size", "seed", "threads", "workers", "device")}


def _export(config: RefineConfig, candidate: Path, learned: int) -> None:
    roi_head = config.output / "roi_head"
    text = CardText(data=f"renders of the parts' CAD files, and {learned} frames of {config.bag.name}")
    export_run(
        config.output / "pose", candidate, roi_head=roi_head if roi_head.exists() else None, task="pose", text=text
    )
