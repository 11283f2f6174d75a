"""Robot poses, robot descriptions, calibration results, grasps and parameter files as fuzz inputs."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import yaml

from benchmarks.fuzz_kinds.kind import CAMERA, Kind, encoded, picture, read_each
from benchmarks.fuzz_mutation import Files, dump_json
from object_pose.calibration.hand_eye_start import EYE_IN_HAND
from object_pose.calibration.robot_arm import parse_urdf
from object_pose.cli.options import add_config_options, config_from_options
from object_pose.core.geometry.se3 import exp
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.io.camera_info import write_camera
from object_pose.io.grasps import SUFFIX, read_grasps
from object_pose.io.robot_samples import BASE_IN_GRIPPER, read_samples
from object_pose.io.static_transforms import transform_to_mapping
from object_pose.workflows.calibrate_hand_eye import read_hand_eye, read_touched_points

_POSE = exp([0.3, -0.2, 0.5, 0.4, -1.2, 0.7])


def _sample_seeds() -> list[Files]:
    image, pose = encoded(".png", picture()), transform_to_mapping(_POSE)
    seven = [*pose["translation"].values(), *pose["rotation"].values()]
    line = ", ".join(map(str, seven))
    listed = yaml.safe_dump({"samples": [{"image": "a.png", "pose": seven, "joints": [0.1] * 6}]})
    stamps = "".join(f"{stamp / 10} {line.replace(',', '')}\n" for stamp in range(11))
    return [
        {"3.png": image, "3_pose.txt": line.encode()},
        {"3.png": image, "pose-3.json": dump_json(_POSE.tolist())},
        {"3.png": image, "3.yaml": yaml.safe_dump(pose).encode()},
        {"a.png": image, "samples.yaml": listed.encode()},
        {"0.5.png": image, "trajectory.txt": f"# stamp x y z qx qy qz qw\n{stamps}".encode()},
    ]


def _read_samples(folder: Path) -> None:
    read_each(lambda: read_samples(folder), lambda: read_samples(folder, BASE_IN_GRIPPER))


def _robot_seeds() -> list[Files]:
    joint = '<joint name="{0}" type="{1}"><origin xyz="0 0 0.3" rpy="0 0.1 0"/><axis xyz="0 0 1"/>'
    joint += '<parent link="{2}"/><child link="{3}"/></joint>'
    links = ("base", "revolute", "arm"), ("arm", "prismatic", "wrist"), ("wrist", "fixed", "tool0")
    joints = "".join(joint.format(f"to_{child}", kind, parent, child) for parent, kind, child in links)
    return [{"arm.urdf": f'<?xml version="1.0"?><robot name="arm">{joints}</robot>'.encode()}]


def _read_robot(folder: Path) -> None:
    arm = parse_urdf((folder / "arm.urdf").read_text(errors="replace"), "base", "tool0")
    arm.body_jacobian(np.zeros(len(arm.moving)))


def _calibration_seeds() -> list[Files]:
    result = {
        "mounting": EYE_IN_HAND,
        "verdict": "passed",
        "transform": transform_to_mapping(_POSE),
        "covariance": (np.eye(6) * 1e-6).ravel().tolist(),
        "board": "chessboard:9x6:0.025",
        "noise": {"pixel_px": 0.1, "robot_m": 1e-4, "robot_rad": 1e-4},
    }
    with tempfile.TemporaryDirectory() as folder:
        write_camera(Path(folder) / "camera.yaml", CAMERA)
        camera = (Path(folder) / "camera.yaml").read_bytes()
    return [
        {"wrist.yaml": yaml.safe_dump(result).encode(), "wrist_camera.yaml": camera},
        {"touched.yaml": b"0: [0.4, 0.1, 0.02]\n7: [0.5, 0.1, 0.02]\n"},
    ]


def _read_calibration(folder: Path) -> None:
    read_each(lambda: read_hand_eye(folder / "wrist.yaml"), lambda: read_touched_points(folder / "touched.yaml"))


def _grasp_seeds() -> list[Files]:
    turned = {"position": [0.0, 0.0, 0.05], "rpy_deg": [180.0, 0.0, 90.0], "width": 0.03}
    grasps = {"cube": [turned, {"position": [0, 0, 0.05], "quat_wxyz": [0.0, 1.0, 0.0, 0.0], "width": 0.03}]}
    return [{f"parts{SUFFIX}": yaml.safe_dump(grasps).encode()}]


def _read_grasps(folder: Path) -> None:
    read_grasps(folder / f"parts{SUFFIX}")


def _parameter_seeds() -> list[Files]:
    nested = b"depth:\n  scale_sigma: 0.01\n  noise_floor_m: 0.001\nuse_depth: true\n"
    return [{"own.yaml": nested}, {"own.yaml": b"depth.scale_sigma: 1e-2\n"}]


def _read_parameters(folder: Path) -> None:
    parser = argparse.ArgumentParser()
    add_config_options(parser, PoseSolverConfig, "solver")
    options = parser.parse_args([])
    options.config = folder / "own.yaml"
    config_from_options(options, PoseSolverConfig)


KINDS = {
    "samples": Kind(20, _sample_seeds, _read_samples),
    "robot": Kind(10, _robot_seeds, _read_robot),
    "calibration": Kind(10, _calibration_seeds, _read_calibration),
    "grasps": Kind(10, _grasp_seeds, _read_grasps),
    "parameters": Kind(10, _parameter_seeds, _read_parameters),
}
