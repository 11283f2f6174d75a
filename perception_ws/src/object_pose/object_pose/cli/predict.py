"""``object-pose predict``: files in; out comes what a model of any task says of them, as JSON and pictures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from object_pose.cli.frame_results import pose_results, show_results, task_results
from object_pose.cli.model_options import add_estimator_options, estimator_from_options, model_path, open_predictor
from object_pose.cli.options import add_config_options, config_from_options
from object_pose.core.errors import ConfigError
from object_pose.io.bag_frames import RecordingConfig
from object_pose.io.camera_info import read_depth_camera
from object_pose.io.cameras.recorded import NamedFrame, brings_camera, is_video, open_frames
from object_pose.io.writers import frame_schema
from object_pose.tasks.registry import TASKS

EXAMPLES = """examples:
  object-pose predict photo.png --camera camera.yaml --json
  object-pose predict classify tray.png --json
  object-pose predict segment tiles/ --metres-per-pixel 0.3 --output out/tiles
  object-pose predict photo.png --depth photo_depth.png --camera camera.yaml --output out/photo
  object-pose predict lmo/test/000002 --model models/lmo.onnx --output out/lmo
  object-pose predict pose shot.png --depth shot_depth.png --camera camera.yaml --parts bracket.stl pump.ply
  object-pose predict film.mp4 --camera camera.yaml --track --output out/film
  object-pose predict --schema pose
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``predict``."""
    parser.add_argument("task", nargs="?", choices=TASKS, help="task whose shipped model is taken, without --model")
    parser.add_argument("source", type=Path, help="image, folder, video, BOP scene or bag")
    parser.add_argument("--depth", type=Path, help="depth file of an image, or folder of depth files")
    parser.add_argument("--camera", type=Path, help="intrinsics: camera_info YAML, OpenCV's or BOP's camera.json")
    parser.add_argument("--output", type=Path, help="folder for annotated pictures and results.jsonl")
    parser.add_argument("--json", action="store_true", help="print one JSON object a frame")
    parser.add_argument(
        "--schema",
        action=_PrintSchema,
        choices=TASKS,
        help="print the JSON schema of a task's frames, as --json and results.jsonl give them, and exit",
    )
    add_config_options(parser, RecordingConfig, "bags and depth")
    add_estimator_options(parser)


class _PrintSchema(argparse.Action):
    """Prints a task's schema and ends the program, as ``--version`` does."""

    def __call__(self, parser: argparse.ArgumentParser, _namespace: Any, task: Any, _flag: str | None = None) -> None:
        print(json.dumps(frame_schema(task), indent=2))
        parser.exit()


def run(options: argparse.Namespace) -> int:
    """Predict every frame: poses where the model knows its objects' geometry, the result of its task otherwise."""
    profile = "live" if is_video(options.source) else "single_image"
    predictor = open_predictor(options, _model(options), profile=profile)
    gives_poses = bool(predictor.card.objects)
    frames = _frames(options, poses_wanted=gives_poses)
    predict = (
        pose_results(estimator_from_options(options, predictor, profile)) if gives_poses else task_results(predictor)
    )
    show_results(frames, predict, options.output, options.json)
    return 0


def _model(options: argparse.Namespace) -> Path:
    return model_path(options, TASKS[options.task or "pose"].default_model)


def _frames(options: argparse.Namespace, poses_wanted: bool) -> Iterator[NamedFrame]:
    """Open the source; raises ``ConfigError`` where poses are wanted without a camera file."""
    config = config_from_options(options, RecordingConfig)
    camera, depth_scale = read_depth_camera(options.camera, config.rectified) if options.camera else (None, None)
    frames = open_frames(options.source, options.depth, camera, config, depth_scale)
    if poses_wanted and camera is None and not brings_camera(options.source):
        raise ConfigError(
            f"{options.source} does not say what camera took it, so it gives no poses",
            "name the camera's intrinsics with --camera FILE",
        )
    return frames
