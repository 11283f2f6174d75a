"""The options of verbs that open a model, of any task or of poses, and what they open."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from object_pose.cli.options import add_config_options, add_model_option, config_from_options, given_values
from object_pose.core.errors import ConfigError
from object_pose.core.params import replace_values
from object_pose.core.pose.config import PROFILES, PoseSolverConfig
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.runtime.estimator_settings import EstimatorSettings, PredictorSettings
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.resources import find_model
from object_pose.tasks.pose import POSE
from object_pose.tasks.task import Task

logger = logging.getLogger(__name__)

_SOLVER, _TRACKER = "solver.", "tracker."


def add_predictor_options(parser: argparse.ArgumentParser, default_model: str) -> None:
    """Add ``--model``, ``--config`` and the parameters of a predictor."""
    add_model_option(parser, meaning=f"ONNX model (default: {default_model})")
    parser.add_argument(
        "--config",
        type=Path,
        help="YAML file of parameters, named as their options are and nested at the dots; the command line wins",
    )
    add_config_options(parser, PredictorConfig, "predictor")


def add_estimator_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a predictor, and the parameters of solver and tracker."""
    add_predictor_options(parser, POSE.default_model)
    add_parts_options(parser)
    parser.add_argument(
        "--profile",
        choices=tuple(PROFILES),
        help="how thoroughly frames are searched, where no option says more (default: single_image for image files, "
        "live for videos and bags)",
    )
    parser.add_argument("--track", action="store_true", help="give objects stable ids over the frames")
    add_config_options(parser, PoseSolverConfig, "pose solver", prefix=_SOLVER)
    add_config_options(parser, TrackerConfig, "tracker", prefix=_TRACKER)


def add_parts_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--parts``, CAD files in place of a model, and what says how they are meant."""
    group = parser.add_argument_group("parts without a trained model")
    group.add_argument(
        "--parts",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="CAD files (STL, PLY, OBJ, OFF, GLB or STEP) of parts to find with depth, in place of a model",
    )
    units = "mm", "m", "cm", "inch"
    group.add_argument("--unit", choices=units, default="", help="unit of these files, where it is not clear")
    group.add_argument("--centred", action="store_true", help="move each part's origin to the middle of its box")
    group.add_argument(
        "--symmetry", action="append", default=[], metavar="NAME=SYMMETRY", help="in place of the one that is found"
    )


def prepared_parts(options: argparse.Namespace) -> Path | None:
    """Return the prepared file of the CAD files that ``--parts`` names, None where it names none."""
    if not options.parts:
        return None
    if options.model:
        raise ConfigError("--parts and --model are both given", "name CAD files or a model")
    # A robot that runs models needs no CAD library.
    from object_pose.cli.progress_bar import ProgressBar
    from object_pose.workflows.prepare_parts import PreparePartsConfig, prepare_parts

    symmetries = dict(text.partition("=")[::2] for text in options.symmetry)
    config = PreparePartsConfig(tuple(options.parts), options.unit, options.centred, symmetries)
    with ProgressBar() as bar:
        prepared = prepare_parts(config, progress=bar)
    for note in prepared.notes:
        logger.info(note)
    return prepared.path


def model_path(options: argparse.Namespace, default: str = POSE.default_model) -> Path:
    """Return the chosen model file, prepared parts, or the shipped one of a name."""
    chosen: Path | None = prepared_parts(options) if getattr(options, "parts", None) else options.model
    return chosen or find_model(default)


def open_predictor(options: argparse.Namespace, model: Path, scored: bool = False, profile: str = "live") -> Predictor:
    """Open a model that answers as the user says, otherwise as its task does, for a user or for its ``score``.

    A model of poses answers as the user's profile says, by default as ``profile``. Raises ``ConfigError`` for a model
    of another task than the user names.
    """
    predictor = Predictor(model, config_from_options(options, PredictorConfig))
    task = getattr(options, "task", None)
    if task and predictor.task.name != task:
        raise ConfigError(f"{predictor.path} is a model of the task {predictor.task.name}, not of {task}")
    return predictor.with_decoding(_decoding(options, predictor.task, scored, profile))


def predictor_settings(options: argparse.Namespace, predictor: Predictor, scored: bool = False) -> PredictorSettings:
    """Return what ``open_predictor`` has opened, as a value."""
    config = config_from_options(options, PredictorConfig)
    return PredictorSettings(predictor.path, replace(config, decoding=_decoding(options, predictor.task, scored)))


def _decoding(options: argparse.Namespace, task: Task[Any, Any], scored: bool, profile: str = "live") -> DecodeOptions:
    if task.name == "pose":
        defaults = PROFILES[getattr(options, "profile", None) or profile].decoding
    else:
        defaults = task.scored_options if scored else task.options
    given = given_values(options, PredictorConfig)
    return replace_values(PredictorConfig(decoding=defaults), given).decoding or defaults


def estimator_settings(options: argparse.Namespace, profile: str = "live") -> EstimatorSettings:
    """Return what ``estimator_from_options`` would open, as a value."""
    name = options.profile or profile
    given = given_values(options, PredictorConfig)
    detector = replace_values(PredictorConfig(decoding=PROFILES[name].decoding), given)
    return EstimatorSettings(model_path(options), detector, *_solver_and_tracker(options, name), name)


def estimator_from_options(
    options: argparse.Namespace, predictor: Predictor | None = None, profile: str = "live"
) -> PoseEstimator:
    """Return the estimator that the options describe, around a model that is open already or newly opened."""
    solver, tracker = _solver_and_tracker(options, options.profile or profile)
    predictor = predictor or open_predictor(options, model_path(options), profile=profile)
    return PoseEstimator(predictor, solver_config=solver, tracker_config=tracker)


def _solver_and_tracker(options: argparse.Namespace, profile: str) -> tuple[PoseSolverConfig, TrackerConfig | None]:
    """Return the configurations of solver and tracker, the latter None where nothing is tracked."""
    solver = replace_values(PROFILES[profile].solver, given_values(options, PoseSolverConfig, _SOLVER))
    tracker = replace_values(TrackerConfig(), given_values(options, TrackerConfig, _TRACKER)) if options.track else None
    return solver, tracker
