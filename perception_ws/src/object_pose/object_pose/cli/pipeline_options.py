"""The options that every verb with a pose pipeline shares: the model, its detector, solver and tracker."""

from __future__ import annotations

import argparse
from pathlib import Path

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.core.pose_solver import PoseSolverConfig
from object_pose.core.tracking import TrackerConfig
from object_pose.runtime.pipeline import PosePipeline
from object_pose.runtime.predictor import DetectorConfig
from object_pose.runtime.resources import find_model


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, ``--config`` and the parameters of detector, solver and tracker."""
    parser.add_argument("--model", help="ONNX model, or the name of a shipped one (default: parts.onnx)")
    parser.add_argument("--config", type=Path, help="YAML file of parameters; the command line wins")
    parser.add_argument("--track", action="store_true", help="give objects stable ids over the frames")
    for config_class, title in (
        (DetectorConfig, "detector"),
        (PoseSolverConfig, "pose head"),
        (TrackerConfig, "tracker"),
    ):
        add_config_options(parser, config_class, title)


def model_path(options: argparse.Namespace) -> Path:
    """Return the chosen model file, or the shipped one."""
    return find_model(options.model or "parts.onnx")


def pipeline_from_options(options: argparse.Namespace) -> PosePipeline:
    """Open the pipeline that the options describe."""
    return PosePipeline(
        model_path(options),
        config_from_options(options, DetectorConfig),
        config_from_options(options, PoseSolverConfig),
        config_from_options(options, TrackerConfig) if options.track else None,
    )
