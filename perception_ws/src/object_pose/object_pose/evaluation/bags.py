"""Recorded runs against the truth that their bag carries: its recorded poses, or its frames for an estimator."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from object_pose.core.errors import DataError
from object_pose.core.metrics.pose import MIN_VISIBILITY, match_frame
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.evaluation.pose_runner import LabelledFrame, PoseEvaluation, pose_evaluation
from object_pose.io.bag_frames import RecordingConfig, read_bag_frames
from object_pose.io.bags import read_bag
from object_pose.io.messages import poses_from_message, stamp_ns, truths_from_message

_TRUTH, _POSES = "object_pose_msgs/msg/ObjectTruthArray", "object_pose_msgs/msg/ObjectPoseArray"

logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT", ObjectPose, ObjectTruth)


def labelled_bag_frames(
    bag: Path, labels: Sequence[str], truth_topic: str, config: RecordingConfig | None = None
) -> Iterator[LabelledFrame]:
    """Yield the bag's frames whose stamp has a truth; other classes than ``labels`` are left out of it.

    Raises ``DataError`` where a topic is missing.
    """
    types = {truth_topic: [_TRUTH]}
    truths = {stamp_ns(message): message for _, _, message in read_bag(bag, [truth_topic], types=types)}
    for index, frame in enumerate(read_bag_frames(bag, config)):
        if frame.stamp_ns in truths:
            found = truths_from_message(truths[frame.stamp_ns])
            yield LabelledFrame(0, index, frame, _of_classes(found, labels))


def evaluate_recorded_poses(
    bag: Path,
    objects: Sequence[ObjectModel],
    truth_topic: str,
    poses_topic: str,
    min_visibility: float = MIN_VISIBILITY,
) -> PoseEvaluation:
    """Score the poses of the bag, on the frames that have both poses and truth; class names join the two.

    Raises ``DataError`` where a topic is missing, no frame has both, or a pose is of none of ``objects``.
    """
    messages: dict[str, dict[int, object]] = {truth_topic: {}, poses_topic: {}}
    for topic, _, message in read_bag(bag, list(messages), types={truth_topic: [_TRUTH], poses_topic: [_POSES]}):
        messages[topic][stamp_ns(message)] = message
    truths, poses = messages[truth_topic], messages[poses_topic]
    common = sorted(set(truths) & set(poses))
    if not common:
        raise DataError(f"bag {bag} has no frame with both {truth_topic} and {poses_topic}")
    unanswered = len(truths) - len(common)
    if unanswered:
        logger.warning("%d of %d frames with truth have no poses and do not count", unanswered, len(truths))
    labels = [model.name for model in objects]
    matches = []
    for stamp in common:
        found = poses_from_message(poses[stamp])
        unknown = sorted({pose.class_name for pose in found} - set(labels))
        if unknown:
            raise DataError(f"bag {bag} has poses of {', '.join(unknown)}", f"the model knows {', '.join(labels)}")
        wanted = _of_classes(truths_from_message(truths[stamp]), labels)
        matches.append(match_frame(_of_classes(found, labels), wanted, objects, min_visibility))
    return pose_evaluation(matches, {})


def _of_classes(items: Sequence[ItemT], labels: Sequence[str]) -> tuple[ItemT, ...]:
    """Return those of known classes, with class ids that index ``labels``."""
    known = (item for item in items if item.class_name in labels)
    return tuple(dataclasses.replace(item, class_id=labels.index(item.class_name)) for item in known)
