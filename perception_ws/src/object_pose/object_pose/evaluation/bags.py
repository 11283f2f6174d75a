"""Recorded runs against the truth that their bag carries: its recorded poses, or its frames for an estimator."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from object_pose.core.arrays import Image
from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.metrics.pose import MIN_VISIBILITY, FrameMatches, match_frame
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.evaluation.pose_runner import LabelledFrame, PoseEvaluation, pose_evaluation
from object_pose.io.bag_frames import RecordingConfig, read_bag_frames
from object_pose.io.bags import describe_bag, read_bag
from object_pose.io.messages import poses_from_message, stamp_ns, truths_from_message
from object_pose.runtime.pose_estimator import FrameEstimate

_TRUTH, _POSES = "object_pose_msgs/msg/ObjectTruthArray", "object_pose_msgs/msg/ObjectPoseArray"

_KEPT_PICTURES = 6

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


def read_truths(bag: Path, truth_topic: str, labels: Sequence[str]) -> dict[int, tuple[ObjectTruth, ...]] | None:
    """Return the true objects of known classes by stamp; None where the bag has no such topic."""
    if all(item.name != truth_topic for item in describe_bag(bag).topics):
        return None
    messages = read_bag(bag, [truth_topic], types={truth_topic: [_TRUTH]})
    return {stamp_ns(message): _of_classes(truths_from_message(message), labels) for _, _, message in messages}


@dataclass
class BagRun:
    """What a model said about the frames of a bag, collected frame by frame; with truth also how right it was."""

    name: str
    objects: Sequence[ObjectModel]
    has_truth: bool
    stamps_ns: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    frame_ms: list[float] = field(default_factory=list)
    matches: list[FrameMatches] = field(default_factory=list)
    match_stamps_ns: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    sigmas_mm: list[float] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    rejections: Counter[str] = field(default_factory=Counter)
    track_ids: set[int] = field(default_factory=set)
    pictures: list[tuple[int, int, Image]] = field(default_factory=list)
    _timings: dict[str, list[float]] = field(default_factory=dict)

    def add(
        self,
        index: int,
        frame: Frame,
        estimate: FrameEstimate,
        picture: Image,
        truths: tuple[ObjectTruth, ...] | None,
    ) -> None:
        """Take in the next frame; ``picture`` is kept where it is one of those with most errors, or fewest poses."""
        poses = estimate.results.poses
        self.stamps_ns.append(frame.stamp_ns)
        self.counts.append(len(poses))
        self.frame_ms.append(estimate.timings_ms["total"])
        for stage, milliseconds in estimate.timings_ms.items():
            self._timings.setdefault(stage, []).append(milliseconds)
        self.scores += [pose.score for pose in poses]
        self.sigmas_mm += [1e3 * float(np.sqrt(np.trace(pose.covariance[:3, :3]))) for pose in poses]
        self.classes.update(pose.class_name for pose in poses)
        self.rejections.update(rejection.reason.value for rejection in estimate.results.rejections)
        self.track_ids |= {pose.track_id for pose in poses if pose.track_id >= 0}
        errors = -len(poses)
        if truths is not None:
            matched = match_frame(poses, truths, self.objects)
            self.matches.append(matched)
            self.match_stamps_ns.append(frame.stamp_ns)
            wrong = sum(not match.is_correct for match in matched.matches)
            errors = wrong + len(matched.missed) + len(matched.false_poses)
        self.pictures = sorted([*self.pictures, (errors, index, picture)], key=lambda item: -item[0])[:_KEPT_PICTURES]

    @property
    def seconds(self) -> float:
        """From the first to the last frame, with one frame's share for the last."""
        count = len(self.stamps_ns)
        spread_s = (max(self.stamps_ns) - min(self.stamps_ns)) * 1e-9 if count else 0.0
        return spread_s * count / (count - 1) if count > 1 else spread_s

    def evaluation(self) -> PoseEvaluation | None:
        """Return the score against the truth, where there is any."""
        medians = {stage: round(float(np.median(values)), 2) for stage, values in self._timings.items()}
        return pose_evaluation(self.matches, medians) if self.matches else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; figures that do not exist are null."""
        evaluation = self.evaluation()
        busy_s = sum(self.frame_ms) * 1e-3
        return {
            "bag": self.name,
            "frames": len(self.stamps_ns),
            "seconds": round(self.seconds, 3),
            "poses": sum(self.counts),
            "tracks": len(self.track_ids),
            "poses_per_class": dict(sorted(self.classes.items())),
            "rejections": dict(sorted(self.rejections.items())),
            "median_score": _median(self.scores),
            "median_sigma_mm": _median(self.sigmas_mm),
            "frame_ms_p50": _median(self.frame_ms),
            "speed_over_realtime": round(self.seconds / busy_s, 3) if busy_s else None,
            "evaluation": evaluation.to_json() if evaluation else None,
        }


def _median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 4) if values else None


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
