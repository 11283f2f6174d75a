"""The options of verbs that open a model of any task, and the model as they want it opened."""

from __future__ import annotations

import argparse
from pathlib import Path

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.core.decoders import DecodeOptions
from object_pose.runtime.predictor import DetectorConfig, Predictor


def add_predictor_options(parser: argparse.ArgumentParser, default_model: str) -> None:
    """Add ``--model``, ``--config`` and the parameters of a predictor."""
    parser.add_argument("--model", help=f"ONNX model, or the name of a shipped one (default: {default_model})")
    parser.add_argument("--config", type=Path, help="YAML file of parameters; the command line wins")
    add_config_options(parser, DetectorConfig, "predictor")


def open_predictor(options: argparse.Namespace, model: Path, scored: bool = False) -> Predictor:
    """Open a model that answers as the user says, otherwise as its task does, for a user or for its ``score``."""
    config = config_from_options(options, DetectorConfig)
    predictor = Predictor(model, config, labels=config.expected_labels)
    return predictor.with_options(_chosen(options, predictor.task.scored_options if scored else predictor.task.options))


def _chosen(options: argparse.Namespace, defaults: DecodeOptions) -> DecodeOptions:
    values = {
        "score_threshold": defaults.score_threshold,
        "iou_threshold": defaults.iou_threshold,
        "max_detections": defaults.max_detections,
        "candidate_threshold": defaults.candidate_threshold,
    }
    return config_from_options(options, DetectorConfig, values).decode_options
