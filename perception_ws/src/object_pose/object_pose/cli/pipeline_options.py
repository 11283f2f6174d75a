"""The options that every verb with a pose pipeline shares: the model, its detector, solver and tracker."""

from __future__ import annotations

import argparse
from pathlib import Path

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.cli.predictor_options import add_predictor_options, open_predictor
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.resources import find_model
from object_pose.tasks.pose import POSE


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, ``--config`` and the parameters of detector, solver and tracker."""
    add_predictor_options(parser, POSE.default_model)
    parser.add_argument("--track", action="store_true", help="give objects stable ids over the frames")
    for config_class, title in ((PoseSolverConfig, "pose head"), (TrackerConfig, "tracker")):
        add_config_options(parser, config_class, title)


def model_path(options: argparse.Namespace) -> Path:
    """Return the chosen model file, or the shipped one."""
    return find_model(options.model or POSE.default_model)


def pipeline_from_options(options: argparse.Namespace, predictor: Predictor | None = None) -> PoseEstimator:
    """Return the pipeline that the options describe, around a model that is open already or newly opened."""
    return PoseEstimator(
        predictor or open_predictor(options, model_path(options)),
        solver_config=config_from_options(options, PoseSolverConfig),
        tracker_config=config_from_options(options, TrackerConfig) if options.track else None,
    )
