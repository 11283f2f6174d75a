"""``object-pose onboard``: a user's own parts, from CAD files to a pose model with its report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.cli.progress_bar import ProgressBar
from object_pose.core.errors import ConfigError
from object_pose.core.params import parameters
from object_pose.io.bag_frames import RecordingConfig
from object_pose.simulation.parts.cad import UNITS
from object_pose.simulation.parts.symmetry import EXACT_TOLERANCE, GRAMMAR, ROUND_TOLERANCE, describe_symmetry
from object_pose.training.config import TrainConfig
from object_pose.workflows.onboard import onboard, steps_in_words
from object_pose.workflows.onboard_plan import (
    OPTION_CLASSES,
    RESERVED_OPTIONS,
    OnboardConfig,
    PlannedPart,
    plan_onboarding,
)
from object_pose.workflows.refine import RefineConfig, refine
from object_pose.workflows.teaching_frames import TeachingConfig
from object_pose.workflows.time_plan import TimePlan

EXAMPLES = """examples:
  object-pose onboard bracket.stl gear.stl --output out/mine --accept-symmetries
  object-pose onboard nut.stl --unit mm --output out/nut --symmetry nut=z6,x2
  object-pose onboard pump.step --output out/pump --camera camera.yaml --distance 0.4-1.0 --minutes 90
  object-pose onboard --refine recording.mcap --output out/pump --minutes 20

The symmetries that are found are shown first and have to be accepted or stated: a wrong one costs accuracy for good.
--minutes is for the whole of it: rendering, training, export, test and report; learning rates fall to their end within
it. An interrupted run goes on with what is left of them when the command is repeated, and with more of them from there.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``onboard``."""
    parser.add_argument(
        "parts", type=Path, nargs="*", metavar="PART", help="CAD file: STL, PLY, OBJ, OFF, GLB, 3MF or STEP"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for models, runs, the model and the report")
    parser.add_argument(
        "--refine",
        type=Path,
        metavar="BAG",
        help="recording of the parts in the real scene, whose sure tracks refine the model in --output",
    )
    parser.add_argument("--unit", choices=tuple(UNITS), default="", help="unit of the files, where it is not clear")
    parser.add_argument("--centred", action="store_true", help="move each part's origin to the middle of its box")
    parser.add_argument("--accept-symmetries", action="store_true", help="use the symmetries that are found")
    parser.add_argument("--symmetry", action="append", default=[], metavar="NAME=SYMMETRY", help=GRAMMAR)
    for option, default, text in (
        ("--round-tolerance", ROUND_TOLERANCE, "round is what no turn moves by more than this many diameters"),
        ("--turn-tolerance", EXACT_TOLERANCE, "the same for turns of few folds; a scanned mesh may need 0.06"),
    ):
        parser.add_argument(option, type=float, default=default, help=f"{text} (default: {default})")
    parser.add_argument("--camera", type=Path, help="camera file of your camera: intrinsics and size of its images")
    parser.add_argument(
        "--distance",
        type=_distance,
        metavar="NEAR-FAR",
        help="working distance in metres, such as 0.3-0.8 (default: 0.35-0.9, whatever the parts' size)",
    )
    parser.add_argument("--minutes", type=float, help="for the whole of it (default: 60, with --refine 20)")
    for option, what in (("--steps", "detector"), ("--roi-head-steps", "RoI head")):
        parser.add_argument(option, type=int, default=0, help=f"steps that end the training of the {what} earlier")
    parser.add_argument("--no-roi-head", dest="roi_head", action="store_false", help="train the detector alone")
    parser.add_argument("--test-frames", type=int, default=100, help="rendered frames of the test (default: 100)")
    parser.add_argument("--licence", default="", help="licence of the weights, for the card")
    for config_class, title in zip(OPTION_CLASSES, ("training", "network", "scenes")):
        add_config_options(parser, config_class, title, RESERVED_OPTIONS)
    for config_class, title in ((RecordingConfig, "recording"), (TeachingConfig, "what is learned from it")):
        add_config_options(parser, config_class, title)


def run(options: argparse.Namespace) -> int:
    """Show the parts with their symmetries, go through the stages that are not done, say where model and report are."""
    if options.refine is not None:
        return _refine(options)
    if not options.parts:
        raise ConfigError("no CAD file is named", "name the parts' files, or a recording with --refine")
    config = _config(options)
    with ProgressBar() as bar:
        plan = plan_onboarding(config, bar)
    _print_parts(plan.parts)
    for note in plan.notes:
        print(note, flush=True)
    with ProgressBar() as bar:
        result = onboard(config, plan, bar, print_time_plan)
    state = f"trained: {steps_in_words(result.steps_done)}, in {result.minutes:.1f} of {config.minutes:g} minutes"
    if not result.is_complete:
        state += "; time ran out before those asked for"
    elif result.evaluation is None:
        state += "; this was done before"
    print(f"{state}; more --minutes go on")
    for note in result.notes:
        print(note)
    if result.evaluation is not None:
        accepted = result.evaluation.accepted
        print(
            f"on {result.evaluation.frames} rendered frames: recall {accepted.recall_add_01d:.3f}, "
            f"precision {accepted.precision:.3f}"
        )
    print(f"model: {result.model}\nreport: {result.report}")
    return 0


def _refine(options: argparse.Namespace) -> int:
    """Refine the model of an onboarded folder, and say whether it took the former one's place."""
    if options.parts:
        raise ConfigError("--refine takes no CAD files", "its parts are those that --output was made for")
    config = RefineConfig(
        options.output,
        options.refine,
        recording=config_from_options(options, RecordingConfig),
        teaching=config_from_options(options, TeachingConfig),
        options=_given(options, (TrainConfig,)),
        command=options.command,
        **({} if options.minutes is None else {"minutes": options.minutes}),
    )
    with ProgressBar() as bar:
        result = refine(config, bar)
    print(
        f"labelled {options.refine} by what the model tracks in it: trained on with {result.learned} of its frames "
        f"({steps_in_words(result.steps_done)}), in {result.minutes:.1f} of {config.minutes:g} minutes."
    )
    for note in result.notes:
        print(note)
    print("The candidate is the refined model, the champion the one of before.")
    for place, report in (("of the recording", result.report), ("rendered", result.rendered_report)):
        print(f"On {report.samples} other frames {place}:")
        for check in report.checks:
            if check.is_met is not None:
                print(f"  {'met' if check.is_met else 'MISSED'}: {check.name}: {check.text}")
    if result.is_kept:
        print(f"model: {result.model} is the refined one now; the former one is kept as {result.former}")
    else:
        print(
            f"model: {result.model} stays as it was, for the refined one misses a requirement. Refine with a recording "
            f"from more sides, or delete {config.output} and give it more --minutes."
        )
    print("reports: " + ", ".join(map(str, result.report_paths)))
    return 0 if result.is_kept else 1


def _given(options: argparse.Namespace, classes: Sequence[type]) -> dict[str, Any]:
    """Return the options of config classes that the user gave, by name."""
    names = {item.name for kind in classes for item in parameters(kind)} - set(RESERVED_OPTIONS)
    return {name: getattr(options, name) for name in sorted(names) if getattr(options, name, None) is not None}


def _distance(text: str) -> tuple[float, float]:
    near, separator, far = text.partition("-")
    try:
        distances = float(near), float(far)
    except ValueError:
        distances = (0.0, 0.0)
    if not separator or not 0.0 < distances[0] <= distances[1]:
        raise argparse.ArgumentTypeError(f"'{text}' is no range of distances in metres such as 0.3-0.8")
    return distances


def print_time_plan(plan: TimePlan) -> None:
    """Print each stage with its steps, its minutes and when it is expected to end."""
    table = Table("stage", "steps", "minutes", "ends at")
    for stage, end in zip(plan.stages, plan.ends(datetime.now())):
        steps = f"{stage.steps:,}" if stage.steps else ""
        table.add_row(stage.name, steps, f"{stage.seconds / 60.0:.1f}", f"{end:%H:%M}")
    console = Console()
    console.print(table)
    console.print(plan.machine, highlight=False)


def _config(options: argparse.Namespace) -> OnboardConfig:
    return OnboardConfig(
        parts=tuple(options.parts),
        output=options.output,
        unit=options.unit,
        centred=options.centred,
        symmetries=_stated(options.symmetry),
        accept_symmetries=options.accept_symmetries,
        round_tolerance=options.round_tolerance,
        turn_tolerance=options.turn_tolerance,
        camera=options.camera,
        distance_m=options.distance,
        minutes=60.0 if options.minutes is None else options.minutes,
        steps=options.steps,
        roi_head=options.roi_head,
        roi_head_steps=options.roi_head_steps,
        test_frames=options.test_frames,
        licence=options.licence,
        options=_given(options, OPTION_CLASSES),
        command=options.command,
    )


def _stated(texts: Sequence[str]) -> dict[str, str]:
    stated = {}
    for text in texts:
        name, separator, symmetry = text.partition("=")
        if not separator:
            raise ConfigError(f"--symmetry {text} cannot be understood", "write NAME=SYMMETRY")
        stated[name] = symmetry
    return stated


def _print_parts(parts: Sequence[PlannedPart]) -> None:
    table = Table("part", "size, mm", "triangles", "surface", "symmetry", "moves the surface by")
    for item in parts:
        part, found = item.part, item.found
        size = " x ".join(f"{length * 1e3:.1f}" for length in part.size_m)
        moves = "stated" if found is None else "-"
        if found is not None and item.residual_m is not None:
            moves = f"{1e3 * item.residual_m:.2f} mm, {found.deviation:.1%} of its diameter"
        surface = "closed" if part.is_closed else "open, drawn from both sides"
        symmetry = describe_symmetry(item.symmetry)
        table.add_row(part.name, size, f"{len(part.mesh.faces):,}", surface, symmetry, moves)
    Console().print(table)
