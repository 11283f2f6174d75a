"""What a pose model takes for what: parts for one another and for background, poses of a part for its other poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.metrics.pose import match_frame
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, ObjectTruth, PoseRejection, PoseResults, RejectionReason
from object_pose.evaluation.pose_confusion import PoseConfusion
from object_pose.evaluation.pose_runner import LabelledFrame
from object_pose.runtime.pose_estimator import FrameEstimate
from object_pose.simulation.parts.objects import part_objects
from poses import pose_of

MODELS = [item.model for item in part_objects(("bracket", "bushing"))]
BRACKET, BUSHING = 0, 1
CAMERA = Camera(160, 120, 150.0, 150.0, 79.5, 59.5)


def truth(class_id: int, x: float) -> ObjectTruth:
    T_camera_object = se3.make_transform(se3.exp_so3([0.4, 0.9, -0.3]), [x, 0.0, 0.6])
    return ObjectTruth(class_id, MODELS[class_id].name, T_camera_object, 0.9, np.array([60.0, 40.0, 90.0, 70.0]))


def reported(there: ObjectTruth, class_id: int, turn=(0.0, 0.0, 0.0), shift=(0.0, 0.0, 0.0), score=0.9) -> ObjectPose:
    """A pose at the middle of what stands there, turned about the middle of its own box and then shifted."""
    model, other = MODELS[class_id], MODELS[there.class_id]
    rotation = there.T_camera_object[:3, :3] @ se3.exp_so3(turn)
    middle = se3.apply(there.T_camera_object, other.box_center[None])[0] + shift
    T_camera_object = se3.make_transform(rotation, middle - rotation @ model.box_center)
    return pose_of(model, class_id, T_camera_object, score=score, box_xyxy=there.box_xyxy)


def confusion_of(truths: list[ObjectTruth], poses: list[ObjectPose], *rejections: PoseRejection) -> PoseConfusion:
    item = LabelledFrame(0, 0, Frame(np.zeros((120, 160, 3), np.uint8), CAMERA), tuple(truths))
    confusion = PoseConfusion(MODELS)
    estimate = FrameEstimate(Detections.empty(), PoseResults(tuple(poses), rejections), {})
    confusion(item, estimate, match_frame(poses, truths, MODELS))
    return confusion


def test_parts_are_counted_by_what_stands_there_and_what_was_reported():
    bracket, bushing, unseen = truth(BRACKET, -0.3), truth(BUSHING, 0.0), truth(BRACKET, 0.3)
    in_the_void = reported(bushing, BUSHING, shift=(0.0, 0.4, 0.0))
    weak = reported(unseen, BUSHING, score=0.2)
    poses = [reported(bracket, BRACKET), reported(bushing, BRACKET), in_the_void, weak]
    confusion = confusion_of([bracket, bushing, unseen], poses)
    assert confusion.confusion().names == (MODELS[BRACKET].name, MODELS[BUSHING].name, "nothing")
    assert confusion.counts.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert confusion.unreported == {"not detected": 1} and confusion.wrong_poses() == []
    assert confusion.to_json()["counts"][0] == [1, 0, 1]


def test_what_was_not_reported_is_said_to_be_rejected_weak_or_not_detected():
    truths = [truth(BRACKET, x) for x in (-0.6, 0.0, 0.6)]
    rejected, weak, missed = (replace(item, box_xyxy=item.box_xyxy + 100.0 * n) for n, item in enumerate(truths))
    rejection = PoseRejection(BRACKET, "bracket", 0.8, rejected.box_xyxy, RejectionReason.DEPTH_DISAGREES)
    confusion = confusion_of([rejected, weak, missed], [reported(weak, BRACKET, score=0.3)], rejection)
    expected = {"depth disagrees": 1, "score below 0.5": 1, "not detected": 1}
    assert confusion.unreported == confusion.to_json()["unreported"] == expected


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"turn": (0.0, 0.0, np.pi)}, "half turn about z"),
        ({"turn": (0.0, -0.5 * np.pi, 0.0)}, "quarter turn about y"),
        (
            {"turn": np.array([1.0, 1.0, 1.0]) / np.sqrt(3.0) * 2.0 * np.pi / 3.0},
            "third of a turn about an oblique axis",
        ),
        ({"turn": (0.6, 0.0, 0.0)}, "turned by another angle"),
        ({"shift": (0.0, 0.03, 0.0)}, "moved sideways"),
        ({"shift": (0.0, 0.0, 0.04)}, "too near or too far"),
    ],
)
def test_a_wrong_pose_is_named_by_its_difference_and_shown(change, kind):
    there = truth(BRACKET, 0.0)
    confusion = confusion_of([there], [reported(there, BRACKET, **change)])
    (wrong,) = confusion.wrong_poses()
    assert (wrong.kind, wrong.count, wrong.share) == (kind, 1, 1.0)
    assert (wrong.example.turn is not None) == (" about y" in kind or " about z" in kind)
    assert wrong.example.picture().any() and confusion.counts[BRACKET, BRACKET] == 1


def test_what_a_symmetry_allows_is_no_mistake_and_a_second_pose_is_none_of_background():
    bushing = truth(BUSHING, 0.0)  # round about z
    again = reported(bushing, BUSHING, shift=(0.01, 0.0, 0.0), score=0.6)
    confusion = confusion_of([bushing], [reported(bushing, BUSHING, turn=(0.0, 0.0, 2.0)), again])
    assert confusion.counts.sum() == 1
    assert [group.kind for group in confusion.wrong_poses()] == ["a second pose of one part"]
    nearly = replace(bushing, visibility=0.05)  # hardly visible: neither right nor wrong
    assert confusion_of([nearly], [reported(nearly, BUSHING)]).counts.sum() == 0
