"""Depth that is not where colour shows the objects, through the nodes: /diagnostics names the cause and its amount."""

import dataclasses

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray

from driver import FakeDriver, problems, publish_until, start
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.transport import qos, topics
from object_pose.simulation.parts.objects import load_objects
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig


def test_the_diagnostics_name_the_shift_of_depth(ros):
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    scenes = SceneConfig(min_objects=6, min_spread_m=0.2, max_spread_m=0.25)
    simulated = next(iter(FrameStream(load_objects("parts"), scenes, depth=True, seed=4)))
    start(ros, PoseNode, track=False)
    start(ros, DetectionNode, engine="onnxruntime")
    driver = FakeDriver(ros)
    driver.wait_until_heard()
    frame = dataclasses.replace(simulated.frame, depth_m=np.roll(simulated.frame.depth_m, 12, axis=1))
    named = lambda: [text for text in problems(diagnostics, "pose_node") if "depth lies +1" in text]  # noqa: E731
    publish_until(ros, driver, named, "a diagnostic", limit_s=30.0, frame=frame)
    assert "depth is not aligned to colour" in named()[0]
