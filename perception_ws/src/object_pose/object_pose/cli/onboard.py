"""``object-pose onboard``: the user's own parts, from CAD files to a ready model with its report.

Every stage is a command that could be typed; what is done already is left alone, so that a rerun goes on where the last
one was.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from object_pose.cli.calls import call
from object_pose.cli.folder_claim import claim
from object_pose.cli.options import add_config_options
from object_pose.core.errors import ConfigError
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.metrics.bop import MIN_VISIBILITY
from object_pose.core.params import make_config, parameters
from object_pose.evaluation.pose_runner import PoseEvaluation, evaluate_pose, rendered_frames
from object_pose.evaluation.reports.evaluation.report import FrameKeeper
from object_pose.evaluation.reports.onboarding.report import Onboarding, write_report
from object_pose.evaluation.scorers.bop import BopScorer
from object_pose.io.writers import write_json
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.simulation.generators.bop import write_bop_models
from object_pose.simulation.parts.cad import UNITS, CadPart, read_parts
from object_pose.simulation.parts.objects import load_objects, mesh_diameter
from object_pose.simulation.parts.symmetry import (
    EXACT_TOLERANCE,
    GRAMMAR,
    ROUND_TOLERANCE,
    FoundSymmetry,
    describe_symmetry,
    find_symmetry,
    parse_symmetry,
)
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.simulation.seeds import TEST
from object_pose.training.config import TrainConfig
from object_pose.training.onnx.export import replace_card
from object_pose.training.tasks.pose import PoseTrainingConfig, RoiTrainingConfig
from object_pose.training.tasks.registry import TASKS

EXAMPLES = """examples:
  object-pose onboard bracket.stl gear.stl --output out/mine --accept-symmetries
  object-pose onboard nut.stl --unit mm --output out/nut --symmetry nut=z6,x2
  object-pose onboard part.ply --output out/quick --accept-symmetries --steps 300 --roi-head-steps 300 --test-frames 20

The symmetries that are found are shown first and have to be accepted or stated: a wrong one costs accuracy for good.
An interrupted run goes on where it was when the command is repeated; more steps go on from those that are done.
"""
_SETTINGS, _PROGRESS = "onboard.json", "progress.json"
_TEST_SEED = TEST.seed(100_000_011)
_USUAL_DIAMETER_M = 0.075
_USUAL_FACTORS = (0.5, 1.6)
_SCALED_WITH_PARTS = ("min_distance_m", "max_distance_m", "min_spread_m", "max_spread_m")
# Files without colours say nothing about the material, so nearly every part gets another one.
_REPAINT_WITHOUT_COLORS = 0.9
_OURS = ("steps", "initial", "objects")
_MAY_CHANGE = ("threads", "workers", "device", "precision", "validate_every", "checkpoint_every", "max_minutes")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``onboard``."""
    parser.add_argument("parts", type=Path, nargs="+", metavar="PART", help="CAD file: STL, PLY, OBJ or OFF")
    parser.add_argument("--output", type=Path, required=True, help="folder for models, runs, the model and the report")
    parser.add_argument("--unit", choices=tuple(UNITS), default="", help="unit of the files, where it is not clear")
    parser.add_argument("--centred", action="store_true", help="move each part's origin to the middle of its box")
    parser.add_argument("--accept-symmetries", action="store_true", help="use the symmetries that are found")
    parser.add_argument("--symmetry", action="append", default=[], metavar="NAME=SYMMETRY", help=GRAMMAR)
    for option, default, text in (
        ("--round-tolerance", ROUND_TOLERANCE, "round is what no turn moves by more than this many diameters"),
        ("--turn-tolerance", EXACT_TOLERANCE, "the same for turns of few folds; a scanned mesh may need 0.06"),
    ):
        parser.add_argument(option, type=float, default=default, help=f"{text} (default: {default})")
    for kind, what in (("pose", "--steps"), ("roi_head", "--roi-head-steps")):
        steps = TASKS[kind].defaults["steps"]
        parser.add_argument(what, type=int, default=steps, help=f"training steps of '{kind}' (default: {steps})")
    parser.add_argument("--test-frames", type=int, default=100, help="rendered frames of the test (default: 100)")
    parser.add_argument("--licence", default="", help="licence of the weights, for the card")
    for config_class, title in ((TrainConfig, "training"), (PoseTrainingConfig, "network"), (SceneConfig, "scenes")):
        add_config_options(parser, config_class, title, _OURS)


def run(options: argparse.Namespace) -> int:
    """Go through the stages that are not done yet and say where the model and its report are."""
    output: Path = options.output
    parts = read_parts(options.parts, options.unit, options.centred)
    symmetries = _confirmed_symmetries(parts, options)
    scene = _suitable_scene(parts) | _given(options, SceneConfig)
    claim(output, _SETTINGS, _settings(parts, symmetries, scene, options))
    for note in _scene_notes(scene):
        print(note)
    models = write_bop_models(output, [part.scene_object(found) for part, found in zip(parts, symmetries)])
    stages = _commands(models, scene, options)
    progress = _Progress(output / _PROGRESS)
    for kind, steps in _wanted_steps(options).items():
        progress.train(kind, steps, stages[kind])
    model = _model_path(output)
    state = {"pose": options.steps, "roi_head": options.roi_head_steps, "test_frames": options.test_frames}
    if progress.done.get("tested") != state or not model.exists():
        unseen = make_config(SceneConfig, scene | {"lighting": "held_out"})
        call(*stages["export"])
        evaluation, frames = _test(model, models, unseen, options.test_frames)
        commands = [options.command, *(_shown(*stage) for stage in stages.values())]
        runs = [output / "runs" / kind for kind in _wanted_steps(options)]
        about = Onboarding(
            model, parts, symmetries, options.centred, evaluation, frames, runs, _scene_notes(scene), commands
        )
        write_json(output / "summary.json", {"model": str(model), **evaluation.to_json()})
        write_report(about, output / "report.html")
        progress.note("tested", state)
    print(f"model: {model}\nreport: {output / 'report.html'}")
    return 0


def _model_path(output: Path) -> Path:
    return output / f"{output.resolve().name}.onnx"


def _wanted_steps(options: argparse.Namespace) -> dict[str, int]:
    """Return the training runs and their steps; without steps of the RoI head there is none."""
    return {"pose": options.steps} | ({"roi_head": options.roi_head_steps} if options.roi_head_steps else {})


def _commands(models: Path, scene: Mapping[str, Any], options: argparse.Namespace) -> dict[str, list[Any]]:
    """Return the words of every stage's command."""
    runs = {kind: options.output / "runs" / kind for kind in _wanted_steps(options)}
    shared = {"objects": models} | _given(options, TrainConfig) | dict(scene)
    own = {"pose": _given(options, PoseTrainingConfig), "roi_head": _given(options, RoiTrainingConfig)}
    stages: dict[str, list[Any]] = {
        kind: ["train", kind.replace("_", "-"), "--output", runs[kind], *_flags({"steps": steps} | shared | own[kind])]
        for kind, steps in _wanted_steps(options).items()
    }
    data = f"renders of {len(options.parts)} CAD files"
    stages["export"] = ["export", "--run", runs["pose"], "--output", _model_path(options.output), "--data", data]
    stages["export"] += ["--licence", options.licence] if options.licence else []
    stages["export"] += ["--roi-head", runs["roi_head"]] if "roi_head" in runs else []
    return stages


def _test(model: Path, models: Path, scene: SceneConfig, count: int) -> tuple[PoseEvaluation, FrameKeeper]:
    """Run the model on rendered frames that it never saw, put the result on its card and return it."""
    pipeline, frames = PoseEstimator(model), FrameKeeper()
    card = pipeline.card
    scorer = BopScorer(card.objects, lambda: [item.mesh for item in load_objects(str(models))])
    progress = tqdm(rendered_frames(str(models), count, _TEST_SEED, scene), total=count, unit="frame", desc="test")
    evaluation = evaluate_pose(pipeline, progress, MIN_VISIBILITY, frames, scorer)
    metric = f"recall_add_01d {evaluation.score.recall_add_01d:.3f} on {evaluation.frames} rendered frames"
    replace_card(model, dataclasses.replace(card, metric=metric))
    return evaluation, frames


def _confirmed_symmetries(parts: Sequence[CadPart], options: argparse.Namespace) -> list[Symmetry]:
    """Find or read each part's symmetries and show them; raises ``ConfigError`` for found ones nobody confirmed."""
    stated = _stated_symmetries(parts, options.symmetry)
    found = {
        part.name: find_symmetry(part.mesh, options.round_tolerance, options.turn_tolerance)
        for part in tqdm(parts, desc="symmetries", unit="part")
        if part.name not in stated
    }
    _print_parts(parts, stated, found)
    open_questions = [name for name, item in found.items() if not item.symmetry.is_trivial]
    if open_questions and not options.accept_symmetries:
        raise ConfigError(
            f"the symmetries found of {', '.join(open_questions)} are not confirmed",
            f"repeat with --accept-symmetries, or state them: --symmetry {open_questions[0]}=none",
        )
    return [stated[part.name] if part.name in stated else found[part.name].symmetry for part in parts]


def _stated_symmetries(parts: Sequence[CadPart], texts: Sequence[str]) -> dict[str, Symmetry]:
    centres = {part.name: part.box_centre for part in parts}
    stated = {}
    for text in texts:
        name, _, symmetry = text.partition("=")
        if name not in centres:
            raise ConfigError(f"--symmetry {text} names no part", f"parts: {', '.join(centres)}; write NAME=SYMMETRY")
        stated[name] = parse_symmetry(symmetry, centres[name])
    return stated


def _print_parts(parts: Sequence[CadPart], stated: Mapping[str, Symmetry], found: Mapping[str, FoundSymmetry]) -> None:
    table = Table("part", "size, mm", "triangles", "surface", "symmetry", "moves the surface by")
    for part in parts:
        size = " x ".join(f"{length * 1e3:.1f}" for length in part.size_m)
        item = found.get(part.name)
        symmetry = item.symmetry if item else stated[part.name]
        moves = "stated" if item is None else "-" if symmetry.is_trivial else f"{item.deviation:.1%} of its diameter"
        surface = "closed" if part.is_closed else "open, drawn from both sides"
        table.add_row(part.name, size, f"{len(part.mesh.faces):,}", surface, describe_symmetry(symmetry), moves)
    Console().print(table)


def _suitable_scene(parts: Sequence[CadPart]) -> dict[str, Any]:
    """Return the scene options that the parts' size and colours ask for."""
    values: dict[str, Any] = {}
    factor = float(np.median([mesh_diameter(part.mesh.vertices) for part in parts])) / _USUAL_DIAMETER_M
    if not _USUAL_FACTORS[0] <= factor <= _USUAL_FACTORS[1]:
        for item in parameters(SceneConfig):
            if item.name in _SCALED_WITH_PARTS:
                values[item.name] = round(float(np.clip(item.default * factor, item.minimum, item.maximum)), 3)
    if all(part.colors is None for part in parts):
        values["repaint_share"] = _REPAINT_WITHOUT_COLORS
    return values


def _scene_notes(scene: Mapping[str, Any]) -> list[str]:
    """Say what distances the parts are trained for, as sentences."""
    config = make_config(SceneConfig, dict(scene))
    why = "scaled by the parts' size; " if "min_distance_m" in scene else ""
    return [
        f"Training shows the parts {config.min_distance_m:g} to {config.max_distance_m:g} m from the camera ({why}"
        "--min-distance-m and --max-distance-m change it)."
    ]


def _settings(
    parts: Sequence[CadPart], symmetries: Sequence[Symmetry], scene: Mapping[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Return what a folder's later runs must agree with."""
    chosen = _given(options, TrainConfig) | _given(options, PoseTrainingConfig) | dict(scene)
    return {
        "parts": {part.name: hashlib.sha256(part.path.read_bytes()).hexdigest() for part in parts},
        "unit": parts[0].unit,
        "centred": options.centred,
        "symmetries": {part.name: describe_symmetry(symmetry) for part, symmetry in zip(parts, symmetries)},
        "options": {name: value for name, value in sorted(chosen.items()) if name not in _MAY_CHANGE},
    }


class _Progress:
    """What is done already, in a file beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def note(self, stage: str, state: Any) -> None:
        """Remember that a stage is done."""
        self.done[stage] = state
        write_json(self._path, self.done)

    def train(self, kind: str, steps: int, command: Sequence[Any]) -> None:
        """Train up to ``steps``, from where the last run ended; raises ``ConfigError`` for fewer than are done."""
        done = self.done.get(kind, 0)
        if done > steps:
            raise ConfigError(f"'{kind}' is trained for {done} steps already, not {steps}", "name another folder")
        if done < steps:
            call(*command, "--resume")
            self.note(kind, steps)


def _shown(*words: Any) -> str:
    return shlex.join(["object-pose", *map(str, words)])


def _given(options: argparse.Namespace, config_class: type) -> dict[str, Any]:
    """Return the parameters of a config that the user gave."""
    names = [item.name for item in parameters(config_class) if item.name not in _OURS]
    return {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}


def _flags(values: Mapping[str, Any]) -> list[str]:
    """Return parameters as the words of a command line."""
    words = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words
