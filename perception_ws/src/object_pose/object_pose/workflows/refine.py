"""A model taught by what it tracks: a recording of the real scene, labelled by sure tracks and mixed with renders.

The refined model takes the former one's place only where it is not worse on frames of the recording that were held out,
nor on rendered ones, of which it must not have forgotten what the recording does not show.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from object_pose.core.errors import CancelledError, ConfigError, DataError
from object_pose.core.frame import Frame
from object_pose.core.object_model import ObjectModel
from object_pose.io.bag_frames import RecordingConfig, read_bag_frames
from object_pose.io.bags import describe_bag
from object_pose.io.bop_writing import write_labelled_scene
from object_pose.io.files import new_folder, replacing
from object_pose.io.run_folder import RunFolder
from object_pose.io.writers import write_json
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.simulation.seeds import TEST
from object_pose.workflows.export import CardText, export_run
from object_pose.workflows.gate_requirements import GateConfig
from object_pose.workflows.onboard import steps_in_words
from object_pose.workflows.progress import ProgressCallback, ignore_progress, reported
from object_pose.workflows.promote import GateReport, TestSet, run_gate, write_gate_report
from object_pose.workflows.teaching_frames import (
    SureFrame,
    TeachingConfig,
    TrackedFrame,
    diverse,
    labelled_frames,
    split_by_time,
    sure_frames,
    tracked_frames,
    tracking_estimator,
)
from object_pose.workflows.time_plan import (
    FEWEST_STEPS,
    NOTHING_LEFT,
    intervals,
    measure_speed,
    note_progress,
    read_progress,
    seconds_left,
)
from object_pose.workflows.train import TrainingJob, make_job, train

_SHARES = {"pose": 0.5, "roi_head": 0.5}
_FEWEST_LEARNED = 10
_MOST_LOOKED_AT = 600  # frames, however long the recording
_LARGEST_SHARE = 1.0 / 3.0  # of the time, for labelling, and for export and gate
_GATE_FRAME_S, _EXPORT_S = 1.5, 20.0  # what a frame of both models, and the export, may take
_UNLIMITED_STEPS = 10_000_000
# How the stages go on: from the former weights, at a low rate, with half of the samples from the recording.
_OPTIONS = {"learning_rate": 4e-4, "warmup_steps": 50, "data_share": 0.5, "validation_frames": 20}
_STRICT = GateConfig(max_loss=0.0, max_latency_ratio=2.0, max_error_ratio=1.1)
# Rendered frames that nothing was trained on, and the quality that is no loss on them: the recording counts more.
_RENDERED_SEED, _RENDERED_LOSS = TEST.seed(110_000_011), 0.02


@dataclass(frozen=True)
class RefineConfig:
    """A folder that ``onboard`` made, or one alike, and a recording of its parts as they are really seen.

    ``minutes`` are for the whole of it, over all calls. The models are also compared on ``rendered_frames``.
    ``options`` are those of the training by name.
    """

    folder: Path
    bag: Path
    minutes: float = 20.0
    rendered_frames: int = 50
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    teaching: TeachingConfig = field(default_factory=TeachingConfig)
    gate: GateConfig = _STRICT
    options: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        if not self.minutes > 0.0:
            raise ConfigError(f"{self.minutes:g} minutes are no time to train in", "say --minutes 20")

    @property
    def model(self) -> Path:
        """The model that is refined."""
        return self.folder / f"{self.folder.resolve().name}.onnx"

    @property
    def output(self) -> Path:
        """Where frames, runs, the candidate and the gate's reports go."""
        return self.folder / "refined" / self.bag.resolve().stem


@dataclass(frozen=True)
class RefinedModel:
    """What became of it: the frames that were learned from and held out, the steps by network, and what the gate said.

    ``report`` is of the frames that were held out, ``rendered_report`` of rendered ones. Where both passed, it
    ``is_kept``: ``model`` is the refined one, and ``former`` what it was before. ``minutes`` are those of all calls,
    ``notes`` say what the time did not allow.
    """

    model: Path
    former: Path
    learned: int
    held_out: int
    steps_done: Mapping[str, int]
    minutes: float
    notes: tuple[str, ...]
    is_kept: bool
    report: GateReport
    rendered_report: GateReport
    report_paths: tuple[Path, ...]


def refine(config: RefineConfig, progress: ProgressCallback = ignore_progress) -> RefinedModel:
    """Label the recording by sure tracks, train on with it, compare with the former model, and keep what is not worse.

    Raises ``ConfigError`` where the folder holds no onboarded model, the recording was learned from already, or the
    minutes were enough for next to no training, and ``DataError`` where too little of it is sure. Raises
    ``CancelledError`` on Ctrl-C or where ``progress`` does. What is done is kept; another call goes on from there.
    """
    started_at = time.monotonic()
    if not config.model.exists() or not (config.folder / "models").is_dir():
        raise ConfigError(f"{config.folder} holds no onboarded model", "name the --output of 'object-pose onboard'")
    if (config.output / "result.json").exists():
        raise ConfigError(
            f"{config.output} exists: {config.bag.name} was learned from already",
            "delete that folder to learn from it once more, or name another recording",
        )
    runs = tuple(kind for kind in _SHARES if (config.folder / "runs" / kind).exists())
    if not runs:
        raise ConfigError(f"{config.folder}/runs holds no training run", "refine where 'object-pose onboard' trained")
    seconds_before = sum(RunFolder(config.output / kind).seconds_done for kind in runs)
    spent_s = max(seconds_before, 60.0 * read_progress(config.output).get("minutes", 0.0))
    work = _Work(config, runs, progress, started_at, spent_s)
    try:
        return work.do_all()
    except (CancelledError, KeyboardInterrupt) as error:
        work.note()
        reason = error.message if isinstance(error, CancelledError) else "interrupted"
        raise CancelledError(
            f"{reason}; {config.model} is as it was, what is done of the refined one is kept in {config.output}, after "
            f"{work.minutes:.1f} of {config.minutes:g} minutes",
            "the same command goes on from there",
        ) from error


@dataclass(frozen=True)
class _Work:
    """The stages of one refinement; ``runs`` are the networks that it trains on.

    The call began at ``started_at`` seconds of ``time.monotonic``; earlier ones took ``spent_s`` seconds in all.
    """

    config: RefineConfig
    runs: tuple[str, ...]
    progress: ProgressCallback
    started_at: float
    spent_s: float

    def do_all(self) -> RefinedModel:
        """Go through the stages that are not done."""
        config = self.config
        if not self.frames.exists():
            with new_folder(self.frames) as temporary:
                notes = self.label(temporary)
            self.note(notes=notes)
        candidate = config.output / config.model.name
        if not candidate.exists():
            self.train_all()
            self.require_trained()
            self.export(candidate)
            self.note()
        return self.compare(candidate)

    @property
    def frames(self) -> Path:
        """Where the labelled frames are, those learned from and those held out."""
        return self.config.output / "frames"

    @property
    def minutes(self) -> float:
        """Minutes over all calls."""
        return (self.spent_s + self._seconds) / 60.0

    def note(self, **values: Any) -> None:
        """Note the minutes, and other ``values``, for later calls."""
        note_progress(self.config.output, minutes=round(self.minutes, 3), **values)

    def label(self, folder: Path) -> list[str]:
        """Write the sure frames of the recording as two BOP scenes, those learned from and those held out.

        It looks at the recording for a third of the time at most. Returns what the time did not allow.
        """
        config, estimator = self.config, PoseEstimator(self.config.model)
        counts = {topic.name: topic.count for topic in describe_bag(config.bag).topics}
        total = counts.get(config.recording.color_topic, 0)
        every = max(config.teaching.check_every, math.ceil(total / _MOST_LOOKED_AT))
        teaching = dataclasses.replace(config.teaching, check_every=every)
        until_s = min(_LARGEST_SHARE * 60.0 * config.minutes, self._left_s)
        notes: list[str] = []

        def in_time() -> Iterator[Frame]:
            frames = read_bag_frames(config.bag, config.recording)
            for number, frame in enumerate(reported(frames, self.progress, "track", total)):
                if self._seconds >= until_s:
                    notes.append(f"Labelling stopped after {until_s / 60.0:.1f} minutes, at frame {number} of {total}.")
                    return
                yield frame

        tracked = list(tracked_frames(in_time(), estimator, tracking_estimator(estimator), teaching))
        for name, scene in _chosen(config, tracked, estimator.card.objects, notes).items():
            seen_again = labelled_frames(read_bag_frames(config.bag, config.recording), scene)
            write_labelled_scene(folder / name / "000000", estimator.card.labels, seen_again)
        return notes

    def train_all(self) -> None:
        """Train each network on, as it was trained, until the time is up that is left without the gate's."""
        waiting = [kind for kind in self.runs if self._has_more(kind)]
        while waiting and self._seconds_of(waiting)[waiting[0]] > 0.0:
            kind = waiting.pop(0)
            spent_s = RunFolder(self._run_dir(kind)).seconds_done
            speed = measure_speed(self._job(kind))
            seconds = self._seconds_of([kind, *waiting])[kind]
            job = self._job(kind, {"threads": speed.threads, **intervals(speed, seconds)})
            # 0 would be no limit.
            limited = dataclasses.replace(job.training, max_minutes=max((spent_s + seconds) / 60.0, 1e-6))
            job = dataclasses.replace(job, training=limited, spent_s=spent_s)
            train(job, resume=True, progress=self.progress)

    def require_trained(self) -> None:
        """Raise ``ConfigError`` where a network learned next to nothing: such a model is not worth a comparison."""
        done = self._steps_done()
        if min(done.values()) >= FEWEST_STEPS:
            return
        self.note()
        raise ConfigError(
            f"{self.minutes:.1f} of {self.config.minutes:g} minutes were enough for {steps_in_words(done)}, which is "
            f"next to nothing: from {FEWEST_STEPS} of each network on the model is compared with {self.config.model}, "
            "which is as it was",
            "repeat the command with more --minutes; it goes on from there",
        )

    def export(self, candidate: Path) -> None:
        """Write the refined model's file."""
        roi_head = self._run_dir("roi_head") if "roi_head" in self.runs else None
        learned = self._count("learned")
        text = CardText(data=f"renders of the parts' CAD files, and {learned} frames of {self.config.bag.name}")
        export_run(self._run_dir("pose"), candidate, roi_head=roi_head, task="pose", text=text)

    def compare(self, candidate: Path) -> RefinedModel:
        """Compare the refined model with the former one, and put it in its place where it is not worse."""
        config, folders = self.config, [self.config.output / name for name in ("gate", "gate_rendered")]
        on_renders = dataclasses.replace(config.gate, max_loss=max(config.gate.max_loss, _RENDERED_LOSS))
        sets = (TestSet(self.frames / "held_out"), config.gate), (self._rendered_set(), on_renders)
        reports = [run_gate(candidate, config.model, *how, progress=self.progress).report for how in sets]
        for report, folder in zip(reports, folders):
            write_gate_report(report, folder)
        result = RefinedModel(
            model=config.model,
            former=config.output / f"{config.model.stem}.former.onnx",
            learned=self._count("learned"),
            held_out=self._count("held_out"),
            steps_done=self._steps_done(),
            minutes=self.minutes,
            notes=tuple(read_progress(config.output).get("notes", ())),
            is_kept=all(report.passed for report in reports),
            report=reports[0],
            rendered_report=reports[1],
            report_paths=tuple(folder / "report.html" for folder in folders),
        )
        if result.is_kept:
            _replace_model(config.model, candidate, result.former)
        self.note()
        of_recording, rendered = (report.to_json() for report in reports)
        write_json(config.output / "result.json", {"is_kept": result.is_kept, **of_recording, "rendered": rendered})
        return result

    def _rendered_set(self) -> TestSet:
        """Return the test set in the scenes that the networks were trained on before, of a seed that nothing was."""
        scene = RunFolder(self.config.folder / "runs" / self.runs[0]).settings().configs["SceneConfig"]
        objects = str(self.config.folder / "models")
        return TestSet(rendered=self.config.rendered_frames, seed=_RENDERED_SEED, objects=objects, scene=scene)

    def _job(self, kind: str, more: Mapping[str, Any] = {}) -> TrainingJob:
        """Return the training run of a network with ``more`` options, without its time limit."""
        config = self.config
        values = {
            **_options_of(config.folder / "runs" / kind),
            **_OPTIONS,
            **more,
            "objects": str(config.folder / "models"),
            "steps": _UNLIMITED_STEPS,
            "data": str(self.frames / "learned"),
            "initial": str(config.model),
            "keep_classes": True,
            **config.options,
        }
        job = make_job(kind, self._run_dir(kind), values, config.command)
        return dataclasses.replace(job, stage=f"train {kind.replace('_', '-')}")

    def _run_dir(self, kind: str) -> Path:
        return self.config.output / kind

    def _steps_done(self) -> dict[str, int]:
        return {kind: RunFolder(self._run_dir(kind)).steps_done for kind in self.runs}

    def _has_more(self, kind: str) -> bool:
        """Return whether a network is still to be trained, for longer than is worth another start if it was begun."""
        steps = self._steps_done()[kind]
        worth_s = NOTHING_LEFT * 60.0 * self.config.minutes
        return steps < self._job(kind).training.steps and (not steps or self._seconds_of(self.runs)[kind] > worth_s)

    def _seconds_of(self, kinds: Sequence[str]) -> dict[str, float]:
        """Return what each of the networks that are left may take from now on, so that all end in time."""
        frames = self._count("held_out") + self.config.rendered_frames
        gate_s = min(_EXPORT_S + _GATE_FRAME_S * frames, _LARGEST_SHARE * 60.0 * self.config.minutes)
        done = {kind: RunFolder(self._run_dir(kind)).seconds_done for kind in self.runs}
        shares = {kind: _SHARES[kind] for kind in self.runs}
        return seconds_left(shares, done, max(0.0, self._left_s - gate_s), kinds)

    def _count(self, split: str) -> int:
        return sum(1 for _ in (self.frames / split / "000000" / "rgb").iterdir())

    @property
    def _seconds(self) -> float:
        """Seconds since this call began."""
        return time.monotonic() - self.started_at

    @property
    def _left_s(self) -> float:
        """Seconds that are left of all."""
        return 60.0 * (self.config.minutes - self.minutes)


def _chosen(
    config: RefineConfig, tracked: Sequence[TrackedFrame], objects: Sequence[ObjectModel], notes: Sequence[str]
) -> dict[str, list[SureFrame]]:
    """Return the frames to be learned from and to be held out; raise ``DataError`` where they are too few."""
    teaching, fewest = config.teaching, {"learned": _FEWEST_LEARNED, "held_out": config.gate.min_samples}
    learned, held_out = split_by_time(sure_frames(tracked, objects, teaching), teaching.gap_s)
    chosen = {
        "learned": diverse(learned, teaching.max_frames, teaching.min_new_deg, fewest["learned"]),
        "held_out": diverse(held_out, teaching.held_out_frames, teaching.min_new_deg, fewest["held_out"]),
    }
    for name, scene in chosen.items():
        if len(scene) < fewest[name]:
            hint = "record for longer, from more sides, with depth, the parts in full view at times"
            raise DataError(
                f"{config.bag} has {len(scene)} frames with sure poses to be {name.replace('_', ' ')}, of "
                f"{len(tracked)} looked at; {fewest[name]} are needed" + "".join(f". {note}" for note in notes),
                "take more --minutes" if notes else hint,
            )
    return chosen


def _options_of(run_dir: Path) -> dict[str, Any]:
    """Return the options of network and scenes that a run was trained with, by name, and those of its batches."""
    folder = RunFolder(run_dir)
    options: dict[str, Any] = {}
    for values in folder.settings().configs.values():
        options |= values
    training = folder.description().training
    return options | {name: training[name] for name in ("batch_size", "seed", "threads", "workers", "device")}


def _replace_model(model: Path, candidate: Path, former: Path) -> None:
    """Put the candidate in the place of the model, which is kept as ``former``."""
    if not former.exists():  # else a call was killed in between
        with replacing(former) as temporary:
            shutil.copyfile(model, temporary)
    with replacing(model) as temporary:
        shutil.copyfile(candidate, temporary)
