"""A bag as the pipeline's recorder writes one: frames of the simulated camera, their truth, and a model's poses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from object_pose_msgs.msg import KeypointDetectionArray
from rclpy.serialization import serialize_message

from object_pose.io.bag_frames import write_frame
from object_pose.io.bags import make_typestore, write_bag
from object_pose.ros.messages.conversions import results_to_message, truths_to_message
from object_pose.ros.messages.images import make_header
from object_pose.ros.transport import topics
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.simulation.scenes.truth import SimulatedFrame


def write_recorded_bag(path: Path, frames: Sequence[SimulatedFrame], model: str | Path) -> None:
    """Write the frames and what the model says of each, registered anew."""
    pipeline = PoseEstimator(model)
    with write_bag(path, make_typestore()) as bag:
        for item in frames:
            stamp_ns = item.frame.stamp_ns
            header = make_header(stamp_ns, "camera_color_optical_frame")
            results = pipeline.register(item.frame).results
            write_frame(bag, item.frame)
            for topic, message in (
                (topics.recorded(topics.GROUND_TRUTH), truths_to_message(item.truths, header)),
                (topics.recorded(topics.OBJECT_POSES), results_to_message(results, header)),
                (topics.recorded(topics.KEYPOINTS), KeypointDetectionArray(header=header, model=str(model))),
            ):
                type_name = f"object_pose_msgs/msg/{type(message).__name__}"
                bag.write(topic, type_name, stamp_ns, serialize_message(message))
