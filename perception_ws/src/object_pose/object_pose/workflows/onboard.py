"""A user's own parts, from CAD files to a pose model with its report; each stage is resumed where it was."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from object_pose.core.errors import CancelledError, ConfigError, ModelError
from object_pose.core.metrics.pose import FrameMatches
from object_pose.core.params import make_config
from object_pose.evaluation.bop_scorer import BopScorer
from object_pose.evaluation.pose_confusion import PoseConfusion
from object_pose.evaluation.pose_runner import LabelledFrame, OnFrame, PoseEvaluation, evaluate_pose
from object_pose.evaluation.rendered import rendered_frames
from object_pose.io.files import claim_folder
from object_pose.io.run_folder import RunFolder
from object_pose.io.writers import write_json
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.pose_estimator import FrameEstimate, PoseEstimator
from object_pose.runtime.resources import find_model
from object_pose.simulation.generators.bop import write_bop_models
from object_pose.simulation.parts.objects import load_objects
from object_pose.simulation.parts.symmetry import (
    describe_symmetry,
)
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.simulation.seeds import TEST
from object_pose.training.config import TrainConfig
from object_pose.training.onnx.export import replace_card
from object_pose.training.tasks.pose import PoseTrainingConfig
from object_pose.training.tasks.roi_head import RoiTrainingConfig
from object_pose.workflows.export import CardText, export_run
from object_pose.workflows.onboard_plan import (
    UNLIMITED_STEPS,
    OnboardConfig,
    OnboardPlan,
    network_sizes,
    option_names,
    plan_onboarding,
)
from object_pose.workflows.progress import Progress, ProgressCallback, ignore_progress, reported
from object_pose.workflows.time_plan import (
    FEWEST_STEPS,
    NOTHING_LEFT,
    PlannedStage,
    TimePlan,
    intervals,
    note_progress,
    plan_time,
    read_progress,
    seconds_left,
)
from object_pose.workflows.train import TrainingJob, make_job, train

if TYPE_CHECKING:
    from object_pose.evaluation.reports.onboarding.symmetries import PartSymmetry

_SETTINGS = "onboard.json"
_TEST_SEED = TEST.seed(100_000_011)
# What the training runs start from: its layers but those of the classes know parts already.
_SHIPPED = "parts.onnx"
# What export, a frame of the test and the report may take of the time, of which they get a third at most, the report a
# twentieth.
_EXPORT_S, _TEST_FRAME_S, _LARGEST_REPORT_S = 15.0, 0.8, 12.0
_LARGEST_TEST_SHARE, _LARGEST_REPORT_SHARE = 1.0 / 3.0, 1.0 / 20.0
_FEWEST_TEST_FRAMES = 20  # that are tested however late it is
# The shares of the training's time, and how each stage learns where the user says nothing else.
_SHARES = {"pose": 0.25, "roi_head": 0.75}
_STAGE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "pose": {"reuse": 8, "buffer": 500, "validation_frames": 40},
    "roi_head": {
        "reuse": 32,
        "buffer": 500,
        "validation_frames": 40,
        "colour_only_share": 0.3,
        "relief_only_share": 0.2,
    },
}
# Of the detector's loss, where a RoI head finds the keypoints better.
_KEYPOINT_WEIGHT = 0.15
_NETWORKS = {"pose": "detector", "roi_head": "RoI head"}
# Options that another call on the same folder may change.
_MAY_CHANGE = ("threads", "workers", "device", "precision", "validate_every", "checkpoint_every")


@dataclass(frozen=True)
class OnboardedModel:
    """The model with its report; ``steps_done`` by training run, ``minutes`` over all calls.

    ``is_complete`` unless the time ran out before the steps that were asked for. ``notes`` say what the time did not
    allow. ``evaluation`` is None where nothing was new.
    """

    model: Path
    report: Path
    steps_done: Mapping[str, int]
    minutes: float
    is_complete: bool
    notes: tuple[str, ...]
    evaluation: PoseEvaluation | None


def onboard(
    config: OnboardConfig,
    plan: OnboardPlan | None = None,
    progress: ProgressCallback = ignore_progress,
    on_time_plan: Callable[[TimePlan], None] | None = None,
) -> OnboardedModel:
    """Write the parts' models, train, export, test on renders and write the report; what is done is left alone.

    ``on_time_plan`` is told what is expected before the training begins. Raises ``ConfigError`` where a found symmetry
    is not accepted or the folder was made with other settings, and ``CancelledError`` where ``progress`` does, with the
    training's checkpoint kept.
    """
    plan = plan or plan_onboarding(config, progress)
    started_at = time.monotonic() - plan.planning_s
    _require_confirmed(config, plan)
    claim_folder(config.output, _SETTINGS, _settings(config, plan))
    models = write_bop_models(config.output, [item.part.scene_object(item.symmetry) for item in plan.parts])
    before = _seconds_done(config)
    spent_s = max(sum(before.values()), 60.0 * read_progress(config.output).get("minutes", 0.0))
    work = _Work(config, plan, models, progress, started_at, before, spent_s)
    try:
        notes, evaluation = work.do_all(on_time_plan)
    except (CancelledError, KeyboardInterrupt) as error:
        note_progress(config.output, minutes=round(work.minutes, 3))
        raise work.cancelled(error) from error
    done, minutes = work.steps_done(), float(read_progress(config.output)["minutes"])
    is_complete = not _unfinished(config, done)
    return OnboardedModel(config.model, work.report, done, minutes, is_complete, notes, evaluation)


def _seconds_done(config: OnboardConfig) -> dict[str, float]:
    """Return how long each training run took so far, over all calls."""
    return {kind: RunFolder(config.output / "runs" / kind).seconds_done for kind in config.wanted_steps}


@dataclass(frozen=True)
class _Work:
    """The stages of one onboarding; ``models`` is the folder of the parts' BOP models.

    The call began at ``started_at`` seconds of ``time.monotonic``. Earlier ones took ``spent_s`` seconds in all, of
    which ``seconds_before`` were those of each training run.
    """

    config: OnboardConfig
    plan: OnboardPlan
    models: Path
    progress: ProgressCallback
    started_at: float
    seconds_before: Mapping[str, float]
    spent_s: float

    @property
    def report(self) -> Path:
        """Where the report goes."""
        return self.config.output / "report.html"

    def do_all(self, on_time_plan: Callable[[TimePlan], None] | None) -> tuple[tuple[str, ...], PoseEvaluation | None]:
        """Go through the stages that are not done; return what the time did not allow, and the test where it is new."""
        self.train_all(on_time_plan)
        config, done = self.config, self.steps_done()
        state = {**done, "test_frames": config.test_frames}
        if read_progress(config.output).get("tested") == state and config.model.exists():
            return tuple(_unfinished(config, done)), None
        self.export()
        evaluation, notes = self.test_and_report(done)
        note_progress(config.output, tested=state, minutes=round(self.minutes, 3))
        return notes, evaluation

    def cancelled(self, error: BaseException) -> CancelledError:
        """Return what tells a user who ended the work early what is kept."""
        reason = error.message if isinstance(error, CancelledError) else "interrupted"
        minutes = f"{self.minutes:.1f} of {self.config.minutes:g} minutes"
        model = "is the one exported last" if self.config.model.exists() else "is not made yet"
        return CancelledError(
            f"{reason}; kept: {steps_in_words(self.steps_done())}, after {minutes}; {self.config.model} {model}",
            "the same command goes on from there",
        )

    def run_dir(self, kind: str) -> Path:
        return self.config.output / "runs" / kind

    def steps_done(self) -> dict[str, int]:
        return {kind: RunFolder(self.run_dir(kind)).steps_done for kind in self.config.wanted_steps}

    def options(self, kind: str) -> dict[str, Any]:
        """Return the options of a training run that differ from its defaults."""
        network = PoseTrainingConfig if kind == "pose" else RoiTrainingConfig
        known = option_names(TrainConfig) | option_names(network)
        own = {name: value for name, value in self.config.options.items() if name in known}
        fixed = {"steps": self.config.wanted_steps[kind], "objects": str(self.models), **_STAGE_OPTIONS[kind]}
        if kind == "pose" and self.config.roi_head:
            fixed["keypoint_weight"] = _KEYPOINT_WEIGHT
        if (shipped := _shipped_weights()) is not None:
            fixed |= {"initial": str(shipped), "keep_classes": False}
        sizes = network_sizes(make_config(SceneConfig, dict(self.plan.scene)), own) if kind == "pose" else {}
        return fixed | sizes | own | dict(self.plan.scene)

    def command(self, kind: str, steps: int = 0) -> str:
        """Return the command that repeats a training run by hand, of so many ``steps`` if that is said."""
        words = ["object-pose", "train", kind.replace("_", "-"), "--output", str(self.run_dir(kind))]
        return shlex.join(words + _flags(self.options(kind) | ({"steps": steps} if steps else {})))

    def train_all(self, on_time_plan: Callable[[TimePlan], None] | None) -> None:
        """Train every run up to its steps, or as long as the time allows that all have together."""
        done = self.steps_done()
        for kind, steps in self.config.wanted_steps.items():
            if done[kind] > steps:
                raise ConfigError(
                    f"'{kind}' is trained for {done[kind]} steps already, not {steps}", "name another folder"
                )
        waiting = [kind for kind in done if not done[kind] or self._has_more(kind, done[kind])]
        if not waiting:
            return
        rest = [PlannedStage("export", _EXPORT_S), PlannedStage("test", max(0.0, self._test_s - _EXPORT_S))]
        jobs = {kind: self._job(kind) for kind in waiting}
        time_plan = plan_time(jobs, lambda: self._seconds_of(waiting), rest, self.progress)
        if on_time_plan:
            on_time_plan(time_plan)
        while waiting:
            kind, spent = waiting[0], self.seconds_before[waiting[0]]
            seconds = self._seconds_of(waiting)[kind]
            # Past the limit a run still takes one step, as the model needs its weights; 0 would be no limit.
            limit = {"max_minutes": max((spent + seconds) / 60.0, 1e-6)}
            speed = time_plan.speeds[kind]
            job = self._job(kind, limit | {"threads": speed.threads} | intervals(speed, seconds))
            train(dataclasses.replace(job, spent_s=spent), resume=True, progress=self.progress)
            waiting.remove(kind)

    def _job(self, kind: str, more: Mapping[str, Any] = {}) -> TrainingJob:
        """Return a training run with ``more`` options, where the user says nothing else."""
        options = {**more, **self.options(kind)}
        job = make_job(kind, self.run_dir(kind), options, self.command(kind))
        return dataclasses.replace(job, stage=f"train {kind.replace('_', '-')}")

    def _has_more(self, kind: str, steps: int) -> bool:
        """Return whether a run that was begun is to go on."""
        left = self._seconds_of(list(self.config.wanted_steps))[kind]
        return steps < self.config.wanted_steps[kind] and left > NOTHING_LEFT * 60.0 * self.config.minutes

    def _seconds_of(self, kinds: Sequence[str]) -> dict[str, float]:
        """Return what each of the runs that are left may take from now on, so that all end in time."""
        shares = {kind: _SHARES[kind] for kind in self.config.wanted_steps}
        left_s = max(0.0, self._ends_at_s - self._test_s - self.seconds)
        return seconds_left(shares, _seconds_done(self.config), left_s, kinds)

    @property
    def minutes(self) -> float:
        """Minutes over all calls."""
        return (self.spent_s + self.seconds) / 60.0

    @property
    def seconds(self) -> float:
        """Seconds since this call began."""
        return time.monotonic() - self.started_at

    @property
    def _ends_at_s(self) -> float:
        """The seconds of this call after which it has to be over."""
        return 60.0 * self.config.minutes - self.spent_s

    @property
    def _test_s(self) -> float:
        """The seconds for export, test and report."""
        wanted_s = _EXPORT_S + _TEST_FRAME_S * self.config.test_frames + self._report_s
        return min(wanted_s, _LARGEST_TEST_SHARE * 60.0 * self.config.minutes)

    @property
    def _report_s(self) -> float:
        return min(_LARGEST_REPORT_S, _LARGEST_REPORT_SHARE * 60.0 * self.config.minutes)

    def export(self) -> None:
        """Write the model file."""
        self.progress(Progress("export", 0, 1, "model"))
        text = CardText(data=f"renders of {len(self.plan.parts)} CAD files", licence=self.config.licence)
        roi_head = self.run_dir("roi_head") if self.config.roi_head else None
        export_run(self.run_dir("pose"), self.config.model, roi_head=roi_head, task="pose", text=text)
        self.progress(Progress("export", 1, 1, "model"))

    def test_and_report(self, done: Mapping[str, int]) -> tuple[PoseEvaluation, tuple[str, ...]]:
        """Test the model on renders it never saw, put the result on its card and write summary and report.

        Returns also what the time did not allow.
        """
        # Only here: matplotlib and Jinja2 are not needed to train.
        from object_pose.evaluation.reports.evaluation.report import FrameKeeper
        from object_pose.evaluation.reports.onboarding.report import Onboarding, write_report

        config, frames = self.config, FrameKeeper()
        evaluation, confusion = self._test(frames)
        figures = {**evaluation.to_json(), "confusion": confusion.to_json()}
        write_json(config.output / "summary.json", {"model": str(config.model), **figures})
        notes = [*_unfinished(config, done), *_hardly_trained(done)]
        if evaluation.frames < config.test_frames:
            notes.append(f"Time was up after {evaluation.frames} of {config.test_frames} test frames.")
        trained = f"Trained: {steps_in_words(done)}, in {self.minutes:.1f} of {config.minutes:g} minutes with the test."
        write_report(
            Onboarding(
                config.model,
                _with_states(self.plan),
                config.centred,
                evaluation,
                confusion,
                frames,
                [self.run_dir(kind) for kind in config.wanted_steps],
                [trained, *notes, *self.plan.notes],
                [config.command, *(self.command(kind, done[kind]) for kind in done), self._export_command()],
            ),
            self.report,
        )
        return evaluation, tuple(notes)

    def _test(self, frames: OnFrame) -> tuple[PoseEvaluation, PoseConfusion]:
        """Evaluate the model on rendered frames, which ``frames`` sees, too, and put its recall on the card."""
        config = self.config
        estimator = PoseEstimator(config.model)
        confusion = PoseConfusion(estimator.card.objects)
        objects = str(self.models)
        scorer = BopScorer(estimator.card.objects, lambda: [item.mesh for item in load_objects(objects)])
        of_test = {"lighting": "held_out", "marker_share": config.options.get("marker_share", 0.0)}
        scene = make_config(SceneConfig, {**self.plan.scene, **of_test})
        rendered = rendered_frames(objects, config.test_frames, _TEST_SEED, scene)
        in_time = _until(rendered, lambda: self.seconds > self._ends_at_s - self._report_s, _FEWEST_TEST_FRAMES)
        shown = reported(in_time, self.progress, "test", config.test_frames)

        def on_frame(item: LabelledFrame, estimate: FrameEstimate, matches: FrameMatches) -> None:
            frames(item, estimate, matches)
            confusion(item, estimate, matches)

        evaluation = evaluate_pose(estimator, shown, on_frame=on_frame, bop=scorer)
        recall = evaluation.score.recall_add_01d
        metric = f"recall_add_01d {recall:.3f} on {evaluation.frames} rendered frames"
        replace_card(config.model, dataclasses.replace(estimator.card, metric=metric))
        return evaluation, confusion

    def _export_command(self) -> str:
        words = ["object-pose", "export", "--run", str(self.run_dir("pose")), "--output", str(self.config.model)]
        return shlex.join(words + (["--roi-head", str(self.run_dir("roi_head"))] if self.config.roi_head else []))


def _require_confirmed(config: OnboardConfig, plan: OnboardPlan) -> None:
    """Raise ``ConfigError`` where a symmetry waits for its confirmation, with a page that shows it."""
    unconfirmed = [item.part.name for item in plan.parts if item.is_open_question]
    if not unconfirmed:
        return
    # Only here: Jinja2 is not needed to train.
    from object_pose.evaluation.reports.onboarding.symmetries import write_symmetries

    page = config.symmetries_page
    write_symmetries([item for item in _with_states(plan) if item.part.name in unconfirmed], page)
    raise ConfigError(
        f"the symmetries found of {', '.join(unconfirmed)} are not confirmed; {page} shows them",
        f"repeat with --accept-symmetries, or confirm or refuse each: --symmetry {unconfirmed[0]}=found or =none",
    )


def _with_states(plan: OnboardPlan) -> list[PartSymmetry]:
    """Return the parts for the report, with who said that they are symmetric."""
    from object_pose.evaluation.reports.onboarding.symmetries import PartSymmetry

    return [PartSymmetry(item.part, item.symmetry, item.state) for item in plan.parts]


@functools.cache
def _shipped_weights() -> Path | None:
    try:
        return find_model(_SHIPPED)
    except ModelError:  # not installed: the training starts from random weights
        return None


def _until(frames: Iterator[LabelledFrame], is_late: Callable[[], bool], fewest: int) -> Iterator[LabelledFrame]:
    """Yield frames until it is late, but the ``fewest`` in any case."""
    for count, item in enumerate(frames):
        if count >= fewest and is_late():
            return
        yield item


def _unfinished(config: OnboardConfig, done: Mapping[str, int]) -> list[str]:
    return [
        f"The training run '{kind}' has {done[kind]} of {steps} steps; repeat the command with more --minutes to go on."
        for kind, steps in config.wanted_steps.items()
        if done[kind] < steps < UNLIMITED_STEPS
    ]


def _hardly_trained(done: Mapping[str, int]) -> list[str]:
    return [
        f"The {_NETWORKS[kind]} had time for {_steps(steps)}, which is next to nothing; repeat the command with more "
        "--minutes."
        for kind, steps in done.items()
        if steps < FEWEST_STEPS
    ]


def steps_in_words(done: Mapping[str, int]) -> str:
    """Say how many steps each network was trained for: 'detector 97 steps, RoI head 315 steps'."""
    return ", ".join(f"{_NETWORKS[kind]} {_steps(steps)}" for kind, steps in done.items())


def _steps(count: int) -> str:
    return f"{count:,} step{'' if count == 1 else 's'}"


def _settings(config: OnboardConfig, plan: OnboardPlan) -> dict[str, Any]:
    """Return what later calls on the same folder must agree with."""
    chosen = {**config.options, **plan.scene}
    return {
        "parts": {item.part.name: file_sha256(item.part.path) for item in plan.parts},
        "unit": plan.parts[0].part.unit,
        "centred": config.centred,
        "symmetries": {item.part.name: describe_symmetry(item.symmetry) for item in plan.parts},
        "options": {name: value for name, value in sorted(chosen.items()) if name not in _MAY_CHANGE},
    }


def _flags(values: Mapping[str, Any]) -> list[str]:
    """Return options as the words of a command line."""
    words = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words
