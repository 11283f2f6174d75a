"""Bags: described, replayed the same every time, and evaluated by their own truth; all of it without ROS."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import pytest
from rclpy.serialization import serialize_message

from networks import save_pose_model
from object_pose.io import annotated_bag
from object_pose.io.bag_frames import write_frame
from object_pose.io.bags import make_typestore, read_bag, write_bag
from object_pose.io.messages import image_from_message
from object_pose.ros.messages.conversions import truths_to_message
from object_pose.ros.messages.images import make_header
from object_pose.ros.transport import topics
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.scenes.live import LiveConfig, LiveScene
from object_pose.workflows.evaluate_bag import BagEvaluationConfig, evaluate_estimator_on_bag, evaluate_recorded_bag
from recorded_bag import write_recorded_bag

COUNT = 3
PERIOD_NS = 50_000_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with the bag of a run of the pipeline on the simulated camera, and the model that ran."""
    folder = tmp_path_factory.mktemp("recorded")
    config = LiveConfig(
        width=320, height=240, focal_px=305.0, distance_m=0.45, duplicates=0, motion=0.0, occlusion=False
    )
    scene = LiveScene(0, config, part_objects(("hex_bolt", "bracket")))
    frames = [scene.frame(index * 0.05, 1_000_000_000 + index * PERIOD_NS) for index in range(COUNT)]
    found = [(truth.class_id, truth.T_camera_object) for truth in frames[0].truths]
    model = save_pose_model([item.model for item in scene.objects], scene.camera, found, folder / "two_parts.onnx")
    write_recorded_bag(folder / "bag", frames, model)
    return folder


@pytest.fixture
def bag(recorded):
    return recorded / "bag"


@pytest.fixture
def model(recorded):
    return recorded / "two_parts.onnx"


def test_info_counts_every_topic(cli, bag):
    info = json.loads(cli("bag", "info", bag, "--json").out)
    counts = {topic["name"]: (topic["message_type"], topic["count"]) for topic in info["topics"]}
    assert counts[topics.recorded(topics.COLOR)] == ("sensor_msgs/msg/Image", COUNT)
    assert counts[topics.recorded(topics.GROUND_TRUTH)] == ("object_pose_msgs/msg/ObjectTruthArray", COUNT)
    assert len(counts) == 6
    assert info["start_ns"] == 1_000_000_000
    assert info["duration_ns"] // PERIOD_NS == COUNT - 1
    table = " ".join(cli("bag", "info", bag).out.split())  # the title is as wide as the terminal
    assert topics.recorded(topics.OBJECT_POSES) in table and "20.0" in table and "1970-01-01 00:00:01 UTC" in table


def test_a_replay_repeats_to_the_last_digit(cli, bag, model, tmp_path):
    for name in ("first", "second"):
        assert cli("bag", "replay", bag, "--model", model, "--track", "--output", tmp_path / name).code == 0
    first, second = ((tmp_path / name / "results.jsonl").read_bytes() for name in ("first", "second"))
    assert first == second
    records = [json.loads(line) for line in first.splitlines()]
    assert [record["stamp_ns"] for record in records] == [1_000_000_000 + index * PERIOD_NS for index in range(COUNT)]
    assert {pose["class_name"] for pose in records[-1]["poses"]} == {"hex_bolt", "bracket"}
    assert all(pose["depth_used"] for pose in records[-1]["poses"])
    pictures = sorted(path.name for path in (tmp_path / "first").glob("*.png"))
    assert pictures == [f"{index:06d}.png" for index in range(COUNT)]


def test_a_replay_can_leave_depth_out(cli, bag, model):
    outcome = cli("bag", "replay", bag, "--model", model, "--depth-topic", "", "--json")
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert not any(pose["depth_used"] for record in records for pose in record["poses"])


@pytest.mark.parametrize("with_model", [False, True], ids=["recorded", "of a model"])
def test_evaluate_scores_recorded_and_new_poses(cli, bag, model, with_model):
    outcome = cli("bag", "evaluate", bag, "--json", *(["--model", model] if with_model else []))
    assert outcome.code == 0, outcome.err
    score = json.loads(outcome.out)
    assert (score["frames"], score["targets"]) == (COUNT, 2 * COUNT)
    assert (score["recall_add_01d"], score["precision"]) == (1.0, 1.0)
    assert score["translation_error_mm_p50"] < 2.0
    assert score["recall_per_class"] == {"bracket": 1.0, "hex_bolt": 1.0}
    assert bool(score["timings_ms"]) == with_model


def test_evaluate_prints_a_table(cli, bag):
    out = cli("bag", "evaluate", bag).out
    assert "3 frames, 6 targets" in out and "hex_bolt" in out and "precision 1.000" in out and "nan" not in out


def test_recorded_poses_need_their_objects_geometry(cli, recorded, tmp_path):
    moved = shutil.copytree(recorded, tmp_path / "moved")
    (moved / "two_parts.onnx").rename(moved / "renamed.onnx")
    (recorded / "two_parts.onnx").rename(recorded / "hidden")
    try:
        assert "--geometry" in cli("bag", "evaluate", moved / "bag").problem
        outcome = cli("bag", "evaluate", moved / "bag", "--geometry", moved / "renamed.onnx", "--json")
    finally:
        (recorded / "hidden").rename(recorded / "two_parts.onnx")
    assert json.loads(outcome.out)["recall_add_01d"] == 1.0


def test_poses_of_objects_that_the_geometry_lacks_are_named(cli, bag, cube_model):
    assert "has poses of bracket, hex_bolt" in cli("bag", "evaluate", bag, "--geometry", cube_model).problem


def test_a_bag_without_truth_says_so(cli, tmp_path, frame, cube_model):
    with write_bag(tmp_path / "bag", make_typestore()) as writer:
        write_frame(writer, frame)
    problem = cli("bag", "evaluate", tmp_path / "bag", "--model", cube_model).problem
    assert f"has no topic {topics.recorded(topics.GROUND_TRUTH)}" in problem


def test_frames_without_truth_are_no_evaluation(cli, tmp_path, frame, cube_model):
    with write_bag(tmp_path / "bag", make_typestore()) as writer:
        write_frame(writer, frame)
        late = truths_to_message((), make_header(frame.stamp_ns + 1, "camera"))
        writer.write(
            topics.recorded(topics.GROUND_TRUTH), "object_pose_msgs/msg/ObjectTruthArray", 1, serialize_message(late)
        )
    assert "no frames to evaluate" in cli("bag", "evaluate", tmp_path / "bag", "--model", cube_model).problem
    assert "--geometry" in cli("bag", "evaluate", tmp_path / "bag").problem


def test_no_ros_is_needed(bag, tmp_path):
    for package in ("rclpy", "object_pose_msgs", "vision_msgs", "sensor_msgs", "geometry_msgs", "std_msgs"):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('hidden', name='{package}')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "object_pose.cli.main", "bag", "evaluate", str(bag), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == COUNT


def test_a_bag_is_evaluated_from_python(recorded, bag):
    config, seen = BagEvaluationConfig(bag), []
    then = evaluate_recorded_bag(config)
    now = evaluate_estimator_on_bag(PoseEstimator(recorded / "two_parts.onnx"), config, seen.append)
    assert (then.frames, now.frames, seen[-1].done) == (COUNT, COUNT, COUNT)
    assert then.score.recall_add_01d == now.score.recall_add_01d > 0.0


REPORT = ("summary.json", "report.html", "results.jsonl", "results.csv", "annotated/metadata.yaml")


def test_a_report_is_the_same_to_the_bit_whatever_the_number_of_workers(cli, bag, model, tmp_path):
    copy = shutil.copytree(bag, tmp_path / "again" / "bag")
    for name, workers in (("one", 1), ("two", 2)):
        outcome = cli(
            *("bag", "evaluate", bag, copy, "--model", model, "--track"),
            *("--output", tmp_path / name, "--workers", workers, "--json"),
        )
        assert outcome.code == 0, outcome.err
    summaries = json.loads(outcome.out)
    assert list(summaries) == ["bag", "bag_2"]
    for folder in ("bag", "bag_2"):
        assert all((tmp_path / "one" / folder / file).is_file() for file in REPORT)
        for file in ("results.jsonl", "results.csv"):
            assert (tmp_path / "one" / folder / file).read_bytes() == (tmp_path / "two" / folder / file).read_bytes()
    summary = summaries["bag"]
    assert summary["frames"] == COUNT and summary["tracks"] == 2
    assert summary["evaluation"]["accepted"]["recall_add_01d"] == 1.0
    page = (tmp_path / "one" / "bag" / "report.html").read_text()
    assert "hex_bolt" in page and "data:image/png" in page


def test_a_report_that_is_there_is_not_made_again(cli, bag, model, tmp_path):
    command = ("bag", "evaluate", bag, "--model", model, "--output", tmp_path)
    assert cli(*command).code == 0
    page = tmp_path / "bag" / "report.html"
    page.unlink()
    assert cli(*command).code == 0
    assert not page.exists()
    assert cli(*command, "--no-solver.use-depth").code == 0
    assert page.exists()


def test_a_report_on_a_bag_without_truth(cli, tmp_path, frame, cube_model):
    with write_bag(tmp_path / "plain", make_typestore()) as writer:
        write_frame(writer, frame)
    outcome = cli("bag", "evaluate", tmp_path / "plain", "--model", cube_model, "--output", tmp_path / "out", "--json")
    summary = json.loads(outcome.out)["plain"]
    assert (summary["frames"], summary["poses_per_class"]) == (1, {"cube": 1})
    assert summary["evaluation"] is None


def test_the_annotated_bag_holds_every_frame_with_what_was_found(cli, bag, model, tmp_path):
    assert cli("bag", "evaluate", bag, "--model", model, "--output", tmp_path).code == 0
    messages = list(read_bag(tmp_path / "bag" / "annotated"))
    pictures = [message for topic, _, message in messages if topic == annotated_bag.PICTURES]
    detections = [message for topic, _, message in messages if topic == annotated_bag.DETECTIONS]
    markers = [message for topic, _, message in messages if topic == annotated_bag.MARKERS]
    assert len(pictures) == len(detections) == len(markers) == COUNT
    assert image_from_message(pictures[0]).shape == (240, 320, 3)
    assert {item.results[0].hypothesis.class_id for item in detections[-1].detections} == {"hex_bolt", "bracket"}
    assert [item.action for item in markers[0].markers][:1] == [3]
    recorded = [json.loads(line) for line in (tmp_path / "bag" / "results.jsonl").read_text().splitlines()]
    for record, message in zip(recorded, detections):
        positions = [item.bbox.center.position for item in message.detections]
        assert len(positions) == len(record["poses"])


@pytest.mark.parametrize("damage", ["absent", "empty"])
def test_a_bag_that_cannot_be_read_leaves_no_report(cli, bag, model, tmp_path, damage):
    broken = tmp_path / "broken"
    if damage == "empty":
        broken.mkdir()
    outcome = cli("bag", "evaluate", broken, "--model", model, "--output", tmp_path / "out")
    assert outcome.code == 2 and "broken" in outcome.problem
    assert not (tmp_path / "out").exists()


def test_time_that_runs_backwards_is_said_and_ids_start_anew(cli, tmp_path, frame, cube_model, caplog):
    frames = [dataclasses.replace(frame, stamp_ns=1_000_000_000 + index * PERIOD_NS) for index in range(COUNT)]

    class Later:
        """Records with the time of recording, which is later than the stamps."""

        def __init__(self, bag, delay_ns):
            self.store, self._bag, self._delay_ns = bag.store, bag, delay_ns

        def write(self, topic, message_type, stamp_ns, message):
            self._bag.write(topic, message_type, stamp_ns + self._delay_ns, message)

    with write_bag(tmp_path / "loop", make_typestore()) as writer:
        for round_ in range(2):
            for item in frames:
                write_frame(Later(writer, round_ * 10 * COUNT * PERIOD_NS), item)
    command = ("bag", "evaluate", tmp_path / "loop", "--model", cube_model, "--track", "--output", tmp_path / "out")
    outcome = cli(*command, "--json")
    assert "time runs backwards 1 times" in caplog.text
    summary = json.loads(outcome.out)["loop"]
    assert (summary["frames"], summary["tracks"]) == (2 * COUNT, 2)


def test_several_bags_without_a_folder_are_refused(cli, bag, model):
    assert "--output" in cli("bag", "evaluate", bag, bag, "--model", model).problem
