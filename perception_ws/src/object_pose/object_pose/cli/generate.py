"""``object-pose generate``: rendered scenes with their truth, as a BOP data set."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.core.params import parameter
from object_pose.io.files import claim_folder
from object_pose.simulation.generators.bop import write_bop_dataset
from object_pose.simulation.parts.objects import load_objects
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig
from object_pose.simulation.scenes.truth import SimulatedFrame

EXAMPLES = """examples:
  object-pose generate --output out/parts_bop --scenes 10 --frames 100
  object-pose generate --output out/mine --objects my_bop_models --seed 7 --no-depth
  object-pose generate --output out/bins --scenes 4 --frames 50 --bin-share 1 --max-objects 20

An interrupted run goes on where it was when it is called again with the same options.
"""
_SETTINGS = "generate.json"


@dataclass(frozen=True)
class GenerateConfig:
    """What a data set holds; ``scenes`` may grow later, all else stays."""

    scenes: int = parameter(10, "scene folders", minimum=1, maximum=1_000_000)
    frames: int = parameter(100, "frames in each scene folder", minimum=1, maximum=1_000_000)
    seed: int = parameter(0, "equal seeds give equal frames", minimum=0, maximum=2**31 - 1)
    objects: str = parameter("parts", "'parts' for the six procedural parts, or a folder of BOP models")
    depth: bool = parameter(True, "depth images, as a D435 takes them")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``generate``."""
    parser.add_argument("--output", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--config", type=Path, help="YAML file of options; the command line wins")
    add_config_options(parser, GenerateConfig, "data set")
    add_config_options(parser, SceneConfig, "scenes")


def run(options: argparse.Namespace) -> int:
    """Render what is missing, a scene folder at a time."""
    config = config_from_options(options, GenerateConfig)
    scene_config = config_from_options(options, SceneConfig)
    objects = load_objects(config.objects)
    settings = {**asdict(config), **asdict(scene_config)}
    del settings["scenes"]
    claim_folder(options.output, _SETTINGS, settings)
    with tqdm(total=config.scenes * config.frames, unit="frame", disable=None) as bar:

        def frames(scene_id: int) -> Iterator[SimulatedFrame]:
            for simulated in FrameStream(objects, scene_config, depth=config.depth, seed=(config.seed, scene_id)):
                bar.update()
                yield simulated

        folders = write_bop_dataset(options.output, objects, frames, config.scenes, config.frames)
        for done, _ in enumerate(folders, start=1):
            bar.update(done * config.frames - bar.n)
    print(f"{options.output}: {config.scenes} scenes of {config.frames} frames, {len(objects)} object models")
    return 0
