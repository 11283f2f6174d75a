"""A user's mistake ends with exit code 2 and one line that names it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from object_pose.core.geometry.camera import Camera
from object_pose.io.camera_info import write_camera
from object_pose.io.images import write_depth, write_image


@pytest.fixture
def files(recording, cube_model, tmp_path):
    """Good files, which a test damages or swaps for others: model, image, depth, camera, config."""
    config = tmp_path / "config.yaml"
    config.write_text("decoding:\n  score_threshold: 0.4\n")
    image, depth = (recording / kind / "000000.png" for kind in ("rgb", "depth"))
    return {
        "model": cube_model,
        "image": image,
        "depth": depth,
        "camera": recording / "camera.yaml",
        "config": config,
    }


def predict(cli, files, *more):
    options = [word for name in ("model", "depth", "camera", "config") for word in (f"--{name}", files[name])]
    return cli("predict", files["image"], *options, *more)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_text(path):
    path.write_text("this is text, not what its name says\n" * 20)


def write_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def test_the_good_files_are_good(cli, files):
    assert predict(cli, files).code == 0


@pytest.mark.parametrize(
    ("name", "damage", "text"),
    [
        ("model", remove, "cube.onnx does not exist"),
        ("model", truncate, "cube.onnx cannot be read: it is truncated"),
        ("model", write_text, "not an ONNX model of a known version"),
        ("model", empty, "cube.onnx is empty"),
        ("model", write_pointer, "git lfs pull"),
        ("image", remove, "000000.png does not exist"),
        ("image", truncate, "000000.png"),
        ("image", write_text, "000000.png cannot be read as an image"),
        ("depth", remove, "000000.png does not exist"),
        ("depth", write_text, "000000.png cannot be read as an image"),
        ("camera", remove, "camera.yaml does not exist"),
        ("camera", write_text, "camera.yaml"),
        ("config", remove, "config.yaml does not exist"),
        ("config", write_text, "config.yaml"),
    ],
)
def test_a_damaged_file_is_named(cli, files, name, damage, text):
    damage(files[name])
    assert text in predict(cli, files).problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("score_treshold: 0.4", "unknown parameter 'score_treshold' (did you mean 'decoding.score_threshold'?)"),
        ("solver: {depht: {scale_sigma: 0.1}}", "(did you mean 'solver.depth.scale_sigma'?)"),
        ("decoding: {score_threshold: 1.5}", "'decoding.score_threshold' is 1.5, outside [0.0, 1.0]"),
        ("decoding.score_threshold: high", "'decoding.score_threshold' must be float"),
        ("device: tpu", "choose one of auto, cpu, cuda"),
        ("- 1", "must hold 'name: value' lines"),
        ("a: [1", "is not valid YAML"),
    ],
)
def test_a_wrong_parameter_file_is_explained(cli, files, text, problem):
    files["config"].write_text(text)
    assert problem in predict(cli, files).problem


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [("--decoding.score-threshold", "7", "outside [0.0, 1.0]"), ("--threads", "many", "'many' is not a int")],
)
def test_a_value_out_of_range_is_explained(cli, files, option, value, text):
    assert text in predict(cli, files, option, value).problem


def test_poses_need_a_camera(cli, files):
    outcome = cli("predict", files["image"], "--model", files["model"])
    assert "--camera" in outcome.problem


def test_the_camera_must_be_of_the_images_size(cli, files):
    write_camera(files["camera"], Camera(640, 480, 600.0, 600.0, 319.5, 239.5))
    assert "320x240, its camera 640x480" in predict(cli, files).problem


def test_depth_must_be_of_the_images_size(cli, files):
    write_depth(files["depth"], np.ones((120, 160), np.float32))
    assert "its depth 160x120" in predict(cli, files).problem


def test_colour_is_no_depth(cli, files):
    write_image(files["depth"], np.zeros((240, 320, 3), np.uint8))
    assert "is it a colour image?" in predict(cli, files).problem


@pytest.mark.parametrize("source", ["absent.png", "absent.mcap", "absent/"])
def test_a_missing_source_is_named(cli, files, source):
    assert "does not exist" in cli("predict", source, "--model", files["model"]).problem


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bag", "info", "absent"], "absent does not exist"),
        (["export", "--run", "absent", "--output", "x.onnx"], "absent is no training run"),
        (["generate", "--output", "out", "--objects", "absent"], "models_info.json does not exist"),
        (["generate", "--output", "out", "--scenes", "0"], "'scenes' is 0"),
        (["train", "pose", "--output", "run", "--input-width", "100"], "multiple of 32"),
        (["models", "show", "absent.onnx"], "absent.onnx"),
    ],
)
def test_other_verbs_say_what_is_wrong_too(cli, arguments, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert text in cli(*arguments).problem
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_one_line(cli, files, tmp_path):
    (tmp_path / "taken").write_text("a file")
    assert "taken" in predict(cli, files, "--output", tmp_path / "taken").problem.replace("\\", "/")


def test_a_package_that_is_not_installed_is_named(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "object_pose.cli.main", "train", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'torch' is not installed" in done.stderr and done.stderr.count("\n") == 1
