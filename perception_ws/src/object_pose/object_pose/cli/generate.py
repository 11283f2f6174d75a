"""``object-pose generate``: rendered scenes with their truth, as a BOP data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.cli.progress_bar import ProgressBar
from object_pose.cli.runner_options import add_runner_options, chosen_runner
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.workflows.datasets import GenerateConfig, generate_bop_dataset

EXAMPLES = """examples:
  object-pose generate --output out/parts_bop --scenes 10 --frames 100
  object-pose generate --output out/mine --objects my_bop_models --seed 7 --no-depth
  object-pose generate --output out/parts_bop --scenes 100 --ray auto
  object-pose generate --output out/bins --scenes 4 --frames 50 --bin-share 1 --max-objects 20

An interrupted run goes on where it was when it is called again with the same options.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``generate``."""
    parser.add_argument("--output", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--config", type=Path, help="YAML file of options; the command line wins")
    add_runner_options(parser, "scenes")
    add_config_options(parser, GenerateConfig, "data set")
    add_config_options(parser, SceneConfig, "scenes")


def run(options: argparse.Namespace) -> int:
    """Render what is missing, a scene folder at a time."""
    config = config_from_options(options, GenerateConfig)
    scene = config_from_options(options, SceneConfig)
    with ProgressBar(terminal_only=True) as bar, chosen_runner(options) as runner:
        objects = generate_bop_dataset(config, scene, options.output, bar, runner)
    print(f"{options.output}: {config.scenes} scenes of {config.frames} frames, {objects} object models")
    return 0
