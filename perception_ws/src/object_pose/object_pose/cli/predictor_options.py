"""The options of verbs that open a model of any task, and the model as they want it opened."""

from __future__ import annotations

import argparse
from pathlib import Path

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.core.params import parameters
from object_pose.core.vision.decoders import DecodeOptions
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
    defaults = predictor.task.scored_options if scored else predictor.task.options
    return predictor.with_options(chosen_options(options, defaults))


def chosen_options(options: argparse.Namespace, defaults: DecodeOptions) -> DecodeOptions:
    """Return how outputs are read: as the user says, where the user says nothing as ``defaults`` do."""
    names = [item.name for item in parameters(DetectorConfig) if hasattr(defaults, item.name)]
    values = {name: getattr(defaults, name) for name in names}
    return config_from_options(options, DetectorConfig, values).decode_options
