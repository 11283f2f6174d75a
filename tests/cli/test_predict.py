"""Files in, results out: as lines, as JSON, and as a folder."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import jsonschema
import numpy as np
import pytest

from cube import CAMERA, T_CAMERA_CUBE
from networks import save_constant_network
from object_pose.core.vision.decoders import Layout
from object_pose.io.bag_frames import write_frame
from object_pose.io.bags import make_typestore, write_bag
from object_pose.runtime.card import ModelCard


@pytest.fixture
def image(recording):
    return recording / "rgb" / "000000.png"


@pytest.fixture
def options(recording, cube_model):
    return ["--model", cube_model, "--camera", recording / "camera.yaml"]


def records(outcome):
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_an_image_with_depth_becomes_a_pose(cli, recording, image, options):
    (record,) = records(cli("predict", image, *options, "--depth", recording / "depth" / "000000.png", "--json"))
    (pose,) = record["poses"]
    assert (record["name"], pose["class_name"], pose["depth_used"]) == ("000000", "cube", True)
    np.testing.assert_allclose(pose["position"], T_CAMERA_CUBE[:3, 3], atol=1e-3)
    assert np.all(np.linalg.eigvalsh(pose["covariance"]) > 0)
    assert len(record["detections"][0]["keypoints_px"]) == 8
    assert record["timings_ms"]["total"] > 0


def test_a_frame_is_as_its_schema_says(cli, image, options):
    outcome = cli("predict", "--schema", "pose")
    assert outcome.code == 0
    for record in records(cli("predict", image, *options, "--json")):
        jsonschema.validate(record, json.loads(outcome.out), jsonschema.Draft202012Validator)


def test_without_depth_it_says_so(cli, image, options):
    (record,) = records(cli("predict", image, *options, "--json"))
    assert [pose["depth_used"] for pose in record["poses"]] == [False]


def test_text_is_for_people(cli, image, options):
    outcome = cli(
        "predict", image, *options, "--solver.contour.max-poses", "0"
    )  # as the keypoints say, which are exact
    assert outcome.out.startswith("000000: cube 0.") and " at (0.020, -0.010, 0.400) m\n" in outcome.out


def test_a_folder_leaves_pictures_and_results(cli, recording, options, tmp_path):
    output = tmp_path / "out"
    printed = records(cli("predict", recording, *options, "--output", output, "--json"))
    written = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert written == printed
    assert sorted(path.name for path in output.iterdir()) == ["000000.png", "results.jsonl"]
    picture, original = (cv2.imread(str(path)) for path in (output / "000000.png", recording / "rgb" / "000000.png"))
    assert picture.shape == original.shape and np.any(picture != original)


def test_a_rejected_pose_is_shown_with_its_reason(cli, recording, options, frame):
    wall = np.full_like(frame.depth_m, 0.2)
    path = recording / "wall.npy"
    np.save(path, wall)
    outcome = cli("predict", recording / "rgb" / "000000.png", *options, "--depth", path, "--profile", "live")
    assert outcome.code == 0
    assert "cube rejected: depth_disagrees" in outcome.out
    # The profile of single images leaves thresholds of score and depth to the user.
    assert "depth_disagrees" not in cli("predict", recording / "rgb" / "000000.png", *options, "--depth", path).out


def test_a_video_is_tracked(cli, frame, options, tmp_path):
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, CAMERA.wh)
    for _ in range(5):
        writer.write(frame.rgb)
    writer.release()
    found = records(cli("predict", film, *options, "--track", "--json"))
    assert [record["name"] for record in found] == [f"{index:06d}" for index in range(5)]
    assert len({pose["track_id"] for record in found for pose in record["poses"]} - {-1}) == 1


def test_a_bag_brings_its_camera(cli, frame, cube_model, tmp_path):
    with write_bag(tmp_path / "bag", make_typestore()) as bag:
        write_frame(bag, frame)
    (record,) = records(cli("predict", tmp_path / "bag", "--model", cube_model, "--json"))
    assert record["poses"][0]["depth_used"]


def test_a_detector_without_geometry_gives_boxes_and_needs_no_camera(cli, image, tmp_path):
    card = ModelCard("detect", Layout.YOLOV8_DETECT, ("cat", "dog"), (96, 64))
    output = np.zeros((1, 6, 126))
    output[0, :, 3] = [48, 32, 20, 10, 0.1, 0.8]
    model = save_constant_network(output, card.to_metadata(), (96, 64), tmp_path / "boxes.onnx")
    (record,) = records(cli("predict", image, "--model", model, "--json"))
    assert [item["class_name"] for item in record["detections"]] == ["dog"]
    assert "poses" not in record


def test_a_config_file_is_obeyed_and_the_command_line_wins(cli, image, options, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("decoding: {score_threshold: 0.95}\nsolver: {use_depth: false}\ntracker.max_speed_m_s: 1\n")
    assert cli("predict", image, *options, "--config", config).out == "000000: nothing\n"
    assert "cube" in cli("predict", image, *options, "--config", config, "--decoding.score-threshold", "0.5").out


def test_models_describes_a_file(cli, cube_model):
    card = json.loads(cli("models", "show", cube_model, "--json").out)
    assert (card["task"], card["labels"], card["input_wh"]) == ("pose", ["cube"], [320, 240])
    table = cli("models", "show", cube_model).out
    assert "320, 240" in table and "│ task" in table


def test_a_reader_that_goes_away_is_no_error(recording, cube_model):
    command = f"{sys.executable} -m object_pose.cli.main predict {recording} --model {cube_model} --camera "
    pipe = f"set -o pipefail; {command} {recording}/camera.yaml --json | true"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_cad_files_and_a_model_exclude_each_other(cli, image, options, tmp_path):
    outcome = cli("predict", "pose", image, *options, "--parts", tmp_path / "bracket.stl")
    assert outcome.code == 2 and "both given" in outcome.err
