"""A prepared estimator answers its first frames as fast as all later ones: no kernel is left to compile or load."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from networks import save_pose_model
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from pose_scene import BRACKET_ID, MODELS, SHAFT_ID, SOLIDS, detect
from raycast import CAMERA, render_depth

PLACED = [
    (BRACKET_ID, se3.make_transform(se3.exp_so3([0.5, -0.4, 0.3]), (-0.06, 0.0, 0.45))),
    (SHAFT_ID, se3.make_transform(se3.exp_so3([1.2, 0.3, 0.0]), (0.07, 0.02, 0.5))),
]
FOLLOW = """
import gc, pickle, sys
from numba.core.dispatcher import Dispatcher
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.runtime.pose_estimator import PoseEstimator
with open(sys.argv[2], "rb") as file:
    frames, detections = pickle.load(file)
estimator = PoseEstimator(sys.argv[1], tracker_config=TrackerConfig())
def loaded():
    kernels = [item for item in gc.get_objects() if isinstance(item, Dispatcher)]
    return {f"{item.__module__}.{item.__name__}{item.signatures}".replace(" ", "") for item in kernels}
def follow():
    for frame in frames:
        found = estimator.track(frame).results.poses
        estimator.register_late(frame, detections=detections)
    return found
if sys.argv[3] == "prepared":
    estimator.prepare()
before = loaded()
print(len(follow()), *sorted(loaded() - before))
"""


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The model, and some frames with two parts, which the detector finds in each."""
    depth_m = render_depth([(SOLIDS[class_id], pose) for class_id, pose in PLACED], CAMERA, 0.7)
    rgb = np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8)
    frames = [Frame(rgb, CAMERA, depth_m, index * 33_000_000) for index in range(4)]
    recording = tmp_path / "frames.pickle"
    recording.write_bytes(pickle.dumps((frames, detect(PLACED))))
    return [str(save_pose_model(MODELS, CAMERA, PLACED, tmp_path / "solids.onnx")), str(recording)]


@pytest.mark.parametrize(("state", "is_prepared"), [("prepared", True), ("new", False)])
def test_the_first_frames_load_no_kernel_of_a_prepared_estimator(
    arguments: list[str], state: str, is_prepared: bool
) -> None:
    command = [sys.executable, "-c", FOLLOW, *arguments, state]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    tracked, *kernels = done.stdout.split()
    assert int(tracked) == len(PLACED)
    assert (kernels == []) == is_prepared
