"""A user's own parts, from CAD files to a pose model with its report; each stage is resumed where it was."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.errors import ConfigError
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.params import make_config, parameters, unknown_parameter
from object_pose.evaluation.bop_scorer import BopScorer
from object_pose.evaluation.pose_runner import PoseEvaluation, evaluate_pose
from object_pose.evaluation.rendered import rendered_frames
from object_pose.io.files import claim_folder
from object_pose.io.run_folder import RunFolder
from object_pose.io.writers import write_json
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.simulation.generators.bop import write_bop_models
from object_pose.simulation.parts.cad import CadPart, read_parts, stated_symmetries
from object_pose.simulation.parts.objects import load_objects, mesh_diameter
from object_pose.simulation.parts.symmetry import (
    EXACT_TOLERANCE,
    ROUND_TOLERANCE,
    FoundSymmetry,
    describe_symmetry,
    find_symmetry,
)
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.simulation.seeds import TEST
from object_pose.training.config import TrainConfig
from object_pose.training.onnx.export import replace_card
from object_pose.training.tasks.pose import PoseTrainingConfig
from object_pose.training.tasks.registry import find_task
from object_pose.training.tasks.roi_head import RoiTrainingConfig
from object_pose.workflows.export import CardText, export_run
from object_pose.workflows.progress import Progress, ProgressCallback, ignore_progress, reported
from object_pose.workflows.train import make_job, train

_SETTINGS, _PROGRESS = "onboard.json", "progress.json"
_TEST_SEED = TEST.seed(100_000_011)
# Parts of this size suit the default distances; those of another size get distances in proportion.
_USUAL_DIAMETER_M, _USUAL_FACTORS = 0.075, (0.5, 1.6)
_SCALED_WITH_PARTS = ("min_distance_m", "max_distance_m", "min_spread_m", "max_spread_m")
# What the export, and a frame of the test, may take of the time limit, of which they get a third at most.
_EXPORT_S, _TEST_FRAME_S, _LARGEST_TEST_SHARE = 15.0, 0.6, 1.0 / 3.0
# Files without colours say nothing about the material, so nearly every part gets another one.
_REPAINT_WITHOUT_COLORS = 0.9
OPTION_CLASSES = (TrainConfig, PoseTrainingConfig, SceneConfig)
# Options that onboarding sets itself, and those that another call on the same folder may change.
RESERVED_OPTIONS = ("steps", "initial", "objects")
_MAY_CHANGE = ("threads", "workers", "device", "precision", "validate_every", "checkpoint_every", "max_minutes")


@dataclass(frozen=True)
class OnboardConfig:
    """CAD files, the folder for everything made from them, and what the user says of the parts and the training.

    ``symmetries`` are stated by part name in the notation of ``parse_symmetry``; found ones have to be accepted.
    ``options`` are those of training, network and scenes by name; ``max_minutes`` limits the whole of ``onboard``: the
    training gets what the export and the test leave. Without ``roi_head_steps`` the model has no RoI head. ``command``
    is what the report names as having started it.
    """

    parts: tuple[Path, ...]
    output: Path
    unit: str = ""
    centred: bool = False
    symmetries: Mapping[str, str] = field(default_factory=dict)
    accept_symmetries: bool = False
    round_tolerance: float = ROUND_TOLERANCE
    turn_tolerance: float = EXACT_TOLERANCE
    steps: int = find_task("pose").defaults["steps"]
    roi_head_steps: int = find_task("roi_head").defaults["steps"]
    test_frames: int = 100
    licence: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        known = {item.name for kind in OPTION_CLASSES for item in parameters(kind)} - set(RESERVED_OPTIONS)
        for name in self.options:
            if name not in known:
                raise unknown_parameter(name, known)

    @property
    def model(self) -> Path:
        """Where the model goes."""
        return self.output / f"{self.output.resolve().name}.onnx"

    @property
    def wanted_steps(self) -> dict[str, int]:
        """The training runs and their steps."""
        return {"pose": self.steps} | ({"roi_head": self.roi_head_steps} if self.roi_head_steps else {})


@dataclass(frozen=True)
class PlannedPart:
    """A part and its symmetry; ``found`` is None where the symmetry was stated."""

    part: CadPart
    symmetry: Symmetry
    found: FoundSymmetry | None

    @property
    def is_open_question(self) -> bool:
        """Whether a symmetry was found that nobody stated."""
        return self.found is not None and not self.symmetry.is_trivial


@dataclass(frozen=True)
class OnboardPlan:
    """What will be made: the parts, and the scene options that suit them unless the user says otherwise."""

    parts: tuple[PlannedPart, ...]
    scene: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class OnboardedModel:
    """The model with its report; ``steps_done`` by training run. ``evaluation`` is None where nothing was new."""

    model: Path
    report: Path
    steps_done: Mapping[str, int]
    is_complete: bool
    evaluation: PoseEvaluation | None


def plan_onboarding(config: OnboardConfig, progress: ProgressCallback = ignore_progress) -> OnboardPlan:
    """Read the parts, find the symmetries that are not stated, and choose the scenes to train on.

    Raises ``DataError`` for a file that cannot be used, ``ConfigError`` for options that do not fit the parts.
    """
    parts = read_parts(config.parts, config.unit, config.centred)
    stated = stated_symmetries(parts, config.symmetries)
    planned = []
    for part in reported(parts, progress, "symmetries", len(parts), "part"):
        if part.name in stated:
            planned.append(PlannedPart(part, stated[part.name], None))
        else:
            found = find_symmetry(part.mesh, config.round_tolerance, config.turn_tolerance)
            planned.append(PlannedPart(part, found.symmetry, found))
    given = {name: value for name, value in config.options.items() if name in _names(SceneConfig)}
    scene = _suitable_scene(parts) | given
    return OnboardPlan(tuple(planned), scene, (_distance_note(parts, scene, given),))


def onboard(
    config: OnboardConfig, plan: OnboardPlan | None = None, progress: ProgressCallback = ignore_progress
) -> OnboardedModel:
    """Write the parts' models, train, export, test on renders and write the report; what is done is left alone.

    Raises ``ConfigError`` where a found symmetry is not accepted or the folder was made with other settings, and
    ``CancelledError`` where ``progress`` does, with the training's checkpoint kept.
    """
    started_at = time.monotonic()
    plan = plan or plan_onboarding(config, progress)
    _require_confirmed(config, plan)
    claim_folder(config.output, _SETTINGS, _settings(config, plan))
    models = write_bop_models(config.output, [item.part.scene_object(item.symmetry) for item in plan.parts])
    work = _Work(config, plan, models, progress)
    done = work.train_all(started_at)
    state = {**done, "test_frames": config.test_frames}
    report, evaluation = config.output / "report.html", None
    if _read_state(config.output) != state or not config.model.exists():
        work.export()
        evaluation = work.test_and_report(report, done)
        write_json(config.output / _PROGRESS, {"tested": state})
    is_complete = all(done[kind] >= steps for kind, steps in config.wanted_steps.items())
    return OnboardedModel(config.model, report, done, is_complete, evaluation)


@dataclass(frozen=True)
class _Work:
    """The stages of one onboarding; ``models`` is the folder of the parts' BOP models."""

    config: OnboardConfig
    plan: OnboardPlan
    models: Path
    progress: ProgressCallback

    def run_dir(self, kind: str) -> Path:
        return self.config.output / "runs" / kind

    def options(self, kind: str) -> dict[str, Any]:
        """Return the options of a training run that differ from its defaults."""
        network = PoseTrainingConfig if kind == "pose" else RoiTrainingConfig
        known = _names(TrainConfig) | _names(network)
        own = {name: value for name, value in self.config.options.items() if name in known}
        fixed = {"steps": self.config.wanted_steps[kind], "objects": str(self.models)}
        return fixed | own | dict(self.plan.scene)

    def command(self, kind: str) -> str:
        """Return the command that repeats a training run by hand."""
        words = ["object-pose", "train", kind.replace("_", "-"), "--output", str(self.run_dir(kind))]
        return shlex.join(words + _flags(self.options(kind)))

    def train_all(self, started_at: float) -> dict[str, int]:
        """Train every run up to its steps, or until the time limit of all together; return the steps done of each."""
        wanted = self.config.wanted_steps
        done = {kind: RunFolder(self.run_dir(kind)).steps_done for kind in wanted}
        for kind, steps in wanted.items():
            if done[kind] > steps:
                raise ConfigError(
                    f"'{kind}' is trained for {done[kind]} steps already, not {steps}", "name another folder"
                )
        ends_at = self._training_ends_at(started_at)
        left = {kind: steps - done[kind] for kind, steps in wanted.items() if done[kind] < steps}
        for kind in tuple(left):
            options = self.options(kind)
            if ends_at:
                minutes = (ends_at - time.monotonic()) / 60.0 * left[kind] / sum(left.values())
                # Past the limit a run still takes one step, as the model needs its weights; 0 would be no limit.
                options |= {"max_minutes": max(minutes, 1e-6)}
            job = make_job(kind, self.run_dir(kind), options, self.command(kind))
            job = dataclasses.replace(job, stage=f"train {kind.replace('_', '-')}")
            done[kind] = train(job, resume=True, progress=self.progress).steps_done
            del left[kind]
        return done

    def _training_ends_at(self, started_at: float) -> float:
        """Return the time at which the test has to begin, 0 without a limit."""
        limit_s = 60.0 * float(self.config.options.get("max_minutes", 0.0))
        if not limit_s:
            return 0.0
        test_s = min(_EXPORT_S + _TEST_FRAME_S * self.config.test_frames, _LARGEST_TEST_SHARE * limit_s)
        return started_at + limit_s - test_s

    def export(self) -> None:
        """Write the model file."""
        self.progress(Progress("export", 0, 1, "model"))
        text = CardText(data=f"renders of {len(self.plan.parts)} CAD files", licence=self.config.licence)
        roi_head = self.run_dir("roi_head") if self.config.roi_head_steps else None
        export_run(self.run_dir("pose"), self.config.model, roi_head=roi_head, task="pose", text=text)
        self.progress(Progress("export", 1, 1, "model"))

    def test_and_report(self, report: Path, done: Mapping[str, int]) -> PoseEvaluation:
        """Test the model on renders it never saw, put the result on its card and write summary and report."""
        # Only here: matplotlib and Jinja2 are not needed to train.
        from object_pose.evaluation.reports.evaluation.report import FrameKeeper
        from object_pose.evaluation.reports.onboarding.report import Onboarding, write_report

        config, frames = self.config, FrameKeeper()
        evaluation = self._test(frames)
        write_json(config.output / "summary.json", {"model": str(config.model), **evaluation.to_json()})
        notes = [*self.plan.notes, *_unfinished(config, done)]
        write_report(
            Onboarding(
                config.model,
                [item.part for item in self.plan.parts],
                [item.symmetry for item in self.plan.parts],
                config.centred,
                evaluation,
                frames,
                [self.run_dir(kind) for kind in config.wanted_steps],
                notes,
                [config.command, *(self.command(kind) for kind in config.wanted_steps), self._export_command()],
            ),
            report,
        )
        return evaluation

    def _test(self, frames: Any) -> PoseEvaluation:
        config = self.config
        estimator = PoseEstimator(config.model)
        objects = str(self.models)
        scorer = BopScorer(estimator.card.objects, lambda: [item.mesh for item in load_objects(objects)])
        scene = make_config(SceneConfig, {**self.plan.scene, "lighting": "held_out"})
        rendered = rendered_frames(objects, config.test_frames, _TEST_SEED, scene)
        shown = reported(rendered, self.progress, "test", config.test_frames)
        evaluation = evaluate_pose(estimator, shown, on_frame=frames, bop=scorer)
        recall = evaluation.score.recall_add_01d
        metric = f"recall_add_01d {recall:.3f} on {evaluation.frames} rendered frames"
        replace_card(config.model, dataclasses.replace(estimator.card, metric=metric))
        return evaluation

    def _export_command(self) -> str:
        words = ["object-pose", "export", "--run", str(self.run_dir("pose")), "--output", str(self.config.model)]
        return shlex.join(words + (["--roi-head", str(self.run_dir("roi_head"))] if self.config.roi_head_steps else []))


def _names(config_class: type) -> set[str]:
    return {item.name for item in parameters(config_class)}


def _require_confirmed(config: OnboardConfig, plan: OnboardPlan) -> None:
    unconfirmed = [item.part.name for item in plan.parts if item.is_open_question]
    if unconfirmed and not config.accept_symmetries:
        raise ConfigError(
            f"the symmetries found of {', '.join(unconfirmed)} are not confirmed",
            f"repeat with --accept-symmetries, or state them: --symmetry {unconfirmed[0]}=none",
        )


def _suitable_scene(parts: Sequence[CadPart]) -> dict[str, Any]:
    """Return the scene options that the parts' size and colours ask for."""
    values: dict[str, Any] = {}
    factor = _median_diameter_m(parts) / _USUAL_DIAMETER_M
    if not _USUAL_FACTORS[0] <= factor <= _USUAL_FACTORS[1]:
        for item in parameters(SceneConfig):
            if item.name in _SCALED_WITH_PARTS:
                values[item.name] = round(float(np.clip(item.default * factor, item.minimum, item.maximum)), 3)
    if all(part.colors is None for part in parts):
        values["repaint_share"] = _REPAINT_WITHOUT_COLORS
    return values


def _median_diameter_m(parts: Sequence[CadPart]) -> float:
    return float(np.median([mesh_diameter(part.mesh.vertices) for part in parts]))


def _distance_note(parts: Sequence[CadPart], scene: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Say at what distances the parts are trained, and why."""
    made = make_config(SceneConfig, dict(scene))
    names = {"min_distance_m", "max_distance_m"}
    usual = "the usual range"
    if names & given.keys():
        usual = "as asked for"
    elif names & scene.keys():
        usual = f"scaled to parts of {1e3 * _median_diameter_m(parts):.0f} mm"
    return (
        f"Training shows the parts from {made.min_distance_m:g} to {made.max_distance_m:g} m away ({usual}); where the "
        "camera is nearer or farther, give --min-distance-m and --max-distance-m."
    )


def _unfinished(config: OnboardConfig, done: Mapping[str, int]) -> list[str]:
    return [
        f"The training run '{kind}' has {done[kind]} of {steps} steps; repeat the command to go on."
        for kind, steps in config.wanted_steps.items()
        if done[kind] < steps
    ]


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


def _read_state(output: Path) -> Any:
    path = output / _PROGRESS
    return json.loads(path.read_text()).get("tested") if path.exists() else None


def _flags(values: Mapping[str, Any]) -> list[str]:
    """Return options as the words of a command line."""
    words = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words
