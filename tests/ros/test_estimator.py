"""The pose node is the estimator: the poses of a recording are those of commands and evaluation, at any parameters."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
from object_pose_msgs.msg import ObjectPoseArray
from object_pose_msgs.srv import SetModel
from rclpy.parameter import Parameter as RosParameter
from rclpy.serialization import serialize_message

from cube import CAMERA, T_CAMERA_CUBE, make_cube, save_relief_cube_model
from driver import FakeDriver, publish_until, start
from networks import save_pose_model
from object_pose.cli.main import main
from object_pose.core.geometry import se3
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.evaluation.bags import labelled_bag_frames
from object_pose.evaluation.pose_runner import evaluate_pose
from object_pose.io.bag_frames import read_bag_frames, write_frame
from object_pose.io.bags import make_typestore, write_bag
from object_pose.io.messages import pose_from_message, stamp_ns
from object_pose.ros.messages.conversions import truths_to_message
from object_pose.ros.messages.images import make_header
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.transport import qos, topics
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.scenes.live import LiveConfig, LiveScene

COUNT, PERIOD_NS, START_NS = 4, 50_000_000, 10_000_000_000


@pytest.fixture
def recording_of_parts(tmp_path):
    """A bag of two parts, half of one without depth, and a model that finds them where they are."""
    config = LiveConfig(
        width=320, height=240, focal_px=305.0, distance_m=0.45, duplicates=0, motion=0.0, occlusion=False
    )
    scene = LiveScene(0, config, part_objects(("hex_bolt", "bracket")))
    frames = [scene.frame(index * 0.05, START_NS + index * PERIOD_NS) for index in range(COUNT)]
    truths = frames[0].truths
    found = [(truth.class_id, truth.T_camera_object) for truth in truths]
    model = save_pose_model([item.model for item in scene.objects], scene.camera, found, tmp_path / "parts.onnx")
    left, top, right, bottom = truths[0].box_xyxy.astype(int)
    with write_bag(tmp_path / "bag", make_typestore()) as bag:
        for item in frames:
            depth_m = item.frame.depth_m.copy()
            depth_m[top - 5 : bottom + 5, left - 5 : right + 5] = 0.0
            header = make_header(item.frame.stamp_ns, "camera")
            write_frame(bag, dataclasses.replace(item.frame, depth_m=depth_m))
            truth = serialize_message(truths_to_message(item.truths, header))
            bag.write(
                topics.recorded(topics.GROUND_TRUTH),
                "object_pose_msgs/msg/ObjectTruthArray",
                item.frame.stamp_ns,
                truth,
            )
    return tmp_path / "bag", model


def by_command(capsys, *arguments):
    """Poses by stamp and class name, as a command prints them."""
    assert main([str(argument) for argument in arguments]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {
        record["stamp_ns"]: {
            pose["class_name"]: (
                pose["track_id"],
                pose["depth_used"],
                se3.make_transform(se3.rotation_from_quat_wxyz(np.array(pose["quat_wxyz"])), pose["position"]),
            )
            for pose in record["poses"]
        }
        for record in records
    }


def by_evaluation(bag, model, solver):
    """The same as the evaluation of bags sees them."""
    estimator, found = PoseEstimator(model, solver_config=solver, tracker_config=TrackerConfig()), {}

    def keep(item, estimate, _):
        poses = estimate.results.poses
        found[item.frame.stamp_ns] = {p.class_name: (p.track_id, p.depth_used, p.T_camera_object) for p in poses}

    evaluate_pose(
        estimator, labelled_bag_frames(bag, estimator.card.labels, topics.recorded(topics.GROUND_TRUTH)), on_frame=keep
    )
    return found


def by_node(ros, bag, model, **parameters):
    """The same as the node publishes them; each frame is sent when the one before was answered."""
    answers = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    start(ros, PoseNode, model=str(model), **parameters)
    start(ros, DetectionNode, model=str(model))
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    frames = list(read_bag_frames(bag))
    # Depth that contradicts every detection: all topics are heard, and no track begins.
    nothing = dataclasses.replace(frames[0], depth_m=np.full_like(frames[0].depth_m, 5.0))
    contradicted = lambda: [m for m in answers if any(r.reason == "depth_disagrees" for r in m.rejections)]  # noqa: E731
    publish_until(ros, driver, contradicted, "an answer with depth", frame=nothing)
    for frame in frames:
        driver.publish(frame, stamp_ns=frame.stamp_ns)
        ros.wait_for(lambda at=frame.stamp_ns: [m for m in answers if stamp_ns(m) == at], "an answer")
    return {
        stamp_ns(message): {
            pose.class_name: (pose.track_id, pose.depth_used, pose_from_message(pose.pose.pose))
            for pose in message.poses
        }
        for message in answers
        if stamp_ns(message) >= START_NS
    }


@pytest.mark.parametrize("second_pass", [False, True], ids=["one pass", "second pass"])
def test_a_recording_gives_the_same_poses_by_command_evaluation_and_node(ros, recording_of_parts, capsys, second_pass):
    bag, model = recording_of_parts
    options = "--model", model, "--track", "--json", f"--{'' if second_pass else 'no-'}solver.second-pass"
    expected = by_evaluation(bag, model, PoseSolverConfig(second_pass=second_pass))
    assert len(expected) == COUNT
    assert {name: used for name, (_, used, _) in expected[START_NS].items()} == {"hex_bolt": False, "bracket": True}
    others = {
        "predict": by_command(capsys, "predict", bag, *options),
        "bag replay": by_command(capsys, "bag", "replay", bag, *options),
        "node": by_node(ros, bag, model, every_frame=False, **{"solver.second_pass": second_pass}),
    }
    for name, found in others.items():
        assert found.keys() == expected.keys(), name
        for stamp, poses in expected.items():
            assert found[stamp].keys() == poses.keys(), (name, stamp)
            for part, (track_id, depth_used, transform) in poses.items():
                assert found[stamp][part][:2] == (track_id, depth_used), (name, stamp, part)
                np.testing.assert_allclose(found[stamp][part][2], transform, atol=5e-6, err_msg=f"{name} {part}")


def tracked(ros, driver, answers, frame):
    """Publish until the cube was seen in two more frames; returns its latest pose."""
    answers.clear()

    def found():
        return [message.poses[0] for message in answers if message.poses]

    publish_until(ros, driver, lambda: len(found()) > 1, "a tracked pose", frame=frame)
    assert len({pose.track_id for pose in found()}) == 1
    return found()[-1]


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        (1, "decoding.score_threshold", 0.2),
        (0, "solver.acceptance.min_visibility", 0.05),
        (0, "solver.search.max_searches", 3),
        (0, "tracker.max_dropout_s", 2.0),
        (0, "tracker.gate_sigmas", 5.0),
    ],
)
def test_a_parameter_that_changes_while_an_object_is_tracked_keeps_its_id(ros, pipeline, frame, node, name, value):
    answers, driver = pipeline[2:]
    before = tracked(ros, driver, answers, frame)
    (result,) = pipeline[node].set_parameters([RosParameter(name, value=value)])
    assert result.successful, result.reason
    after = tracked(ros, driver, answers, frame)
    assert after.track_id == before.track_id and after.track_age > before.track_age


def test_another_model_gets_ids_that_were_never_used(ros, pipeline, cube_model, frame, tmp_path):
    answers, driver = pipeline[2:]
    before = tracked(ros, driver, answers, frame)
    other = shutil.copy(cube_model, tmp_path / "other.onnx")
    assert ros.call(SetModel, "/detection_node/set_model", SetModel.Request(model=str(other))).success
    newer = lambda: [m for m in answers if m.poses and m.poses[0].track_id > before.track_id]  # noqa: E731
    publish_until(ros, driver, newer, "a pose of the other model", frame=frame)
    assert newer()[0].poses[0].track_age == 1
    assert {m.poses[0].track_id for m in answers if m.poses} <= {before.track_id, before.track_id + 1}


def test_ids_do_not_survive_another_camera_frame_and_are_not_used_again(ros, pipeline, frame):
    answers, driver = pipeline[2:]
    used = [tracked(ros, driver, answers, frame).track_id]
    for frame_id in ("other_optical_frame", "test_optical_frame"):
        answers.clear()
        new = lambda name=frame_id: [m.poses[0] for m in answers if m.poses and m.header.frame_id == name]  # noqa: E731
        publish_until(
            ros, driver, lambda new=new: len(new()) > 1, "poses in the other frame", frame=frame, frame_id=frame_id
        )
        assert new()[0].track_age == 1
        used.append(new()[0].track_id)
    assert len(set(used)) == 3


@pytest.mark.parametrize("restart", ["activate", "configure"])
def test_ids_are_not_used_again_after_a_restart(ros, pipeline, frame, restart):
    node, _, answers, driver = pipeline
    before = tracked(ros, driver, answers, frame)
    node.trigger_deactivate()
    if restart == "configure":
        node.trigger_cleanup()
        node.trigger_configure()
    node.trigger_activate()
    after = tracked(ros, driver, answers, frame)
    assert after.track_id > before.track_id


def test_a_slow_camera_keeps_ids(ros, pipeline, frame):
    answers, driver = pipeline[2:]
    before = tracked(ros, driver, answers, frame)
    for index in range(1, 4):
        stamp = 100_000_000_000 * index
        # The streams of a frame may be lost; its stamp is then another, a little later.
        at = itertools.count(stamp)
        found = lambda since=stamp: [m.poses[0] for m in answers if m.poses and stamp_ns(m) >= since]  # noqa: E731
        ros.wait_for(lambda at=at, found=found: driver.publish(frame, stamp_ns=next(at)) and found(), "a pose")
        assert found()[0].track_id == before.track_id


def nothing_measured(depth):
    depth.data = bytes(len(depth.data))


def listeners(ros, topic):
    return {info.node_name for info in ros.node.get_subscriptions_info_by_topic(topic)}


def test_depth_that_is_of_no_use_any_more_makes_contours_give_the_poses(ros, tmp_path, frame):
    """Keypoints see the cube 20 mm too far away; depth corrects that, and so does its contour."""
    seen = T_CAMERA_CUBE.copy()
    seen[:3, 3] *= 1.05
    model = str(save_pose_model([make_cube()], CAMERA, [(0, seen)], tmp_path / "far.onnx"))
    answers = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    start(ros, PoseNode, model=model, track=False)
    start(ros, DetectionNode, model=model)
    driver = FakeDriver(ros)
    driver.wait_until_heard()

    def at_its_place(with_depth):
        found = [pose for message in answers for pose in message.poses if pose.depth_used == with_depth]
        return [p for p in found if abs(pose_from_message(p.pose.pose)[2, 3] - T_CAMERA_CUBE[2, 3]) < 0.012]

    publish_until(ros, driver, lambda: at_its_place(with_depth=True), "a pose by depth", frame=frame)
    spoilt = {"frame": frame, "change_depth": nothing_measured}
    publish_until(ros, driver, lambda: at_its_place(with_depth=False), "a pose by its contour", **spoilt)
    answers.clear()
    publish_until(ros, driver, lambda: at_its_place(with_depth=True), "a pose by depth again", frame=frame)


def test_use_depth_takes_effect_at_run_time(ros, pipeline, frame):
    node, _, answers, driver = pipeline
    used = lambda wanted: [m for m in answers if m.poses and m.poses[0].depth_used == wanted]  # noqa: E731
    publish_until(ros, driver, lambda: used(True), "a pose by depth", frame=frame)
    for is_used in (False, True):
        node.set_parameters([RosParameter("solver.use_depth", value=is_used)])
        ros.wait_for(lambda wanted=is_used: ("pose_node" in listeners(ros, topics.DEPTH)) == wanted, "subscription")
        answers.clear()
        publish_until(ros, driver, lambda wanted=is_used: used(wanted), f"a pose, use_depth {is_used}", frame=frame)


def test_the_detection_node_takes_up_use_depth_at_run_time(ros, tmp_path):
    node = start(ros, DetectionNode, model=str(save_relief_cube_model(tmp_path / "relief.onnx")))
    for is_used in (False, True):
        ros.wait_for(lambda wanted=not is_used: ("detection_node" in listeners(ros, topics.DEPTH)) == wanted, "start")
        node.set_parameters([RosParameter("use_depth", value=is_used)])
        ros.wait_for(lambda wanted=is_used: ("detection_node" in listeners(ros, topics.DEPTH)) == wanted, "change")
