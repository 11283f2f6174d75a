"""What a pose model takes for what: a part for another one or for background, and a pose of a part for another pose.

Counted are accepted poses, those from ``MIN_SCORE`` on.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import cv2
import numpy as np

from object_pose.core.arrays import Array, Image
from object_pose.core.geometry import se3
from object_pose.core.metrics.pose import FrameMatches
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose, ObjectTruth, PoseRejection, PoseResults, RejectionReason
from object_pose.core.vision.boxes import box_iou
from object_pose.core.vision.drawing import draw_poses, side_by_side
from object_pose.evaluation.pose_runner import MIN_SCORE, LabelledFrame
from object_pose.evaluation.views import NOTHING, Confusion
from object_pose.runtime.pose_estimator import FrameEstimate

# A pose reports what stands there where their middles are nearer than this many diameters of what stands there.
_SAME_PLACE_DIAMETERS = 0.5
# Turns that shapes nearly repeat after, in degrees, with the difference up to which a wrong turn counts as one.
_TURNS = {180.0: ("half turn", 25.0), 120.0: ("third of a turn", 14.0), 90.0: ("quarter turn", 15.0)}
_TILT_DEG = 25.0
_SAME_AXIS_COS = np.cos(np.radians(20.0))
_SECOND_POSE, _BESIDE, _DEPTH = "a second pose of one part", "moved sideways", "too near or too far"
_PICTURE_PX = 260
_SAME_BOX_IOU = 0.3


@dataclass(frozen=True)
class WrongPose:
    """A pose of the right part that is off, and the truth it was taken for.

    ``turn`` is the axis (3,) in the part's frame and the angle in degrees where ``kind`` is a turn about an axis of the
    part, else None. ``offset_m`` is the distance of the middles.
    """

    kind: str
    item: LabelledFrame
    pose: ObjectPose
    truth: ObjectTruth
    offset_m: float
    turn: tuple[Array, float] | None = None

    def picture(self) -> Image:
        """Return the part as it stands beside the part as it was reported, cut out of the frame."""
        frame, truth, pose = self.item.frame, self.truth, self.pose
        true_pose = dataclasses.replace(pose, T_camera_object=truth.T_camera_object, score=1.0)
        boxes = np.stack([pose.box_xyxy, truth.box_xyxy])
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        side = int(np.clip(1.5 * (high - low).max(), 24, min(frame.camera.wh)))
        x, y = np.clip(np.rint(0.5 * (low + high - side)), 0, np.array(frame.camera.wh) - side).astype(int)
        crop = cv2.resize(frame.rgb[y : y + side, x : x + side], (_PICTURE_PX, _PICTURE_PX))
        camera = frame.camera.cropped(x, y, side, side).resized(_PICTURE_PX, _PICTURE_PX)
        shown = (("stands", true_pose), ("reported", pose))
        return side_by_side([(name, draw_poses(np.asarray(crop, np.uint8), [one], camera)) for name, one in shown])


@dataclass(frozen=True)
class WrongPoses:
    """All wrong poses of one part of one kind; ``example`` is the best scored of them."""

    part: str
    kind: str
    count: int
    share: float
    median_score: float
    median_offset_mm: float
    example: WrongPose

    @property
    def is_matched(self) -> bool:
        """Whether each is the only pose of its target, and not a second one."""
        return self.kind != _SECOND_POSE

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        names = ("part", "kind", "count", "share", "median_score", "median_offset_mm")
        return {name: getattr(self, name) for name in names}


class PoseConfusion:
    """Collects what was taken for what; an ``OnFrame`` of ``evaluate_pose``.

    ``counts`` (N + 1, N + 1) are of the objects in their order and of nothing: rows what stands there, columns what was
    reported. ``unreported`` says why parts were not reported.
    """

    def __init__(self, objects: Sequence[ObjectModel]) -> None:
        self.objects = tuple(objects)
        self.counts = np.zeros((len(objects) + 1, len(objects) + 1), dtype=np.int64)
        self._kinds: dict[tuple[int, str], list[tuple[float, float]]] = {}  # score and offset of each
        self._examples: dict[tuple[int, str], WrongPose] = {}
        self._unreported: Counter[str] = Counter()

    def __call__(self, item: LabelledFrame, estimate: FrameEstimate, matches: FrameMatches) -> None:
        """Take in one frame."""
        matches = matches.above(MIN_SCORE)
        missed = list(matches.missed)
        for match in matches.matches:
            self.counts[match.truth.class_id, match.pose.class_id] += 1
            if not match.is_correct:
                self._note(self._wrong_pose(item, match.pose, match.truth))
        for pose in matches.false_poses:
            there = self._standing_at(pose, item.truths)
            if there is None:
                self.counts[-1, pose.class_id] += 1
                continue
            is_missed = any(truth is there for truth in missed)
            missed = [truth for truth in missed if truth is not there]
            if there.class_id != pose.class_id or is_missed:
                self.counts[there.class_id, pose.class_id] += 1
            if there.class_id == pose.class_id:
                wrong = self._wrong_pose(item, pose, there)
                self._note(wrong if is_missed else dataclasses.replace(wrong, kind=_SECOND_POSE, turn=None))
        for truth in missed:
            self.counts[truth.class_id, -1] += 1
            self._unreported[_why_unreported(truth, estimate.results)] += 1

    def confusion(self) -> Confusion:
        """Return the table, with what is none of the parts last."""
        return Confusion((*(model.name for model in self.objects), NOTHING), self.counts)

    def wrong_poses(self) -> list[WrongPoses]:
        """Return the kinds of wrong poses by part, the most frequent of each part first."""
        groups = []
        for (class_id, kind), values in self._kinds.items():
            scores, offsets = zip(*values)
            reported = int(self.counts[class_id, class_id])
            example = self._examples[class_id, kind]
            groups.append(
                WrongPoses(
                    self.objects[class_id].name,
                    kind,
                    len(values),
                    len(values) / max(reported, len(values)),
                    median(scores),
                    1e3 * median(offsets),
                    example,
                )
            )
        return sorted(groups, key=lambda group: (group.part, -group.count))

    @property
    def unreported(self) -> dict[str, int]:
        """How many parts were not reported for each reason, the most frequent first."""
        return dict(self._unreported.most_common())

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the table, rows the truth, the kinds of wrong poses, and why parts were not reported."""
        return {
            "names": list(self.confusion().names),
            "counts": self.counts.tolist(),
            "wrong_poses": [group.to_json() for group in self.wrong_poses()],
            "unreported": self.unreported,
        }

    def _note(self, wrong: WrongPose) -> None:
        key = wrong.pose.class_id, wrong.kind
        self._kinds.setdefault(key, []).append((wrong.pose.score, wrong.offset_m))
        if key not in self._examples or wrong.pose.score > self._examples[key].pose.score:
            self._examples[key] = wrong

    def _standing_at(self, pose: ObjectPose, truths: Sequence[ObjectTruth]) -> ObjectTruth | None:
        """Return what stands where a pose is, of the same part if there is one."""
        middle = self._middle(pose.class_id, pose.T_camera_object)
        near = []
        for truth in truths:
            distance = float(np.linalg.norm(self._middle(truth.class_id, truth.T_camera_object) - middle))
            distance /= self.objects[truth.class_id].diameter
            if distance < _SAME_PLACE_DIAMETERS:
                near.append((truth.class_id != pose.class_id, distance, truth))
        return min(near, key=lambda item: item[:2])[2] if near else None

    def _middle(self, class_id: int, T_camera_object: Array) -> Array:
        return np.asarray(se3.apply(T_camera_object, self.objects[class_id].box_center[None])[0])

    def _wrong_pose(self, item: LabelledFrame, pose: ObjectPose, truth: ObjectTruth) -> WrongPose:
        """Say by what a pose differs from the truth: by a turn about an axis of the part, a tilt, or its place."""
        model = self.objects[pose.class_id]
        estimate = model.symmetry.closest(pose.T_camera_object, truth.T_camera_object)
        middle = self._middle(truth.class_id, truth.T_camera_object)
        offset = self._middle(pose.class_id, estimate) - middle
        offset_m = float(np.linalg.norm(offset))
        rotation = se3.log_so3(truth.T_camera_object[:3, :3].T @ estimate[:3, :3])
        angle = float(np.linalg.norm(rotation))
        if angle > np.radians(_TILT_DEG):
            kind, turn = _turn_kind(rotation / angle, float(np.degrees(angle)))
            return WrongPose(kind, item, pose, truth, offset_m, turn)
        if angle * model.diameter / 3.0 > offset_m:
            return WrongPose(f"tilted by less than {_TILT_DEG:g}°", item, pose, truth, offset_m)
        along = abs(float(offset @ middle)) / float(np.linalg.norm(middle))
        return WrongPose(_DEPTH if along > 0.8 * offset_m else _BESIDE, item, pose, truth, offset_m)


def _why_unreported(truth: ObjectTruth, results: PoseResults) -> str:
    """Say what became of a part: a pose of a low score, the reason of its rejection, or no detection at all."""
    rejected = [item for item in results.rejections if item.reason is not RejectionReason.DUPLICATE]
    reasons: list[tuple[PoseRejection | ObjectPose, str]] = [
        *((item, item.reason.value.replace("_", " ")) for item in rejected),
        *((item, f"score below {MIN_SCORE:g}") for item in results.poses if item.score < MIN_SCORE),
    ]
    found = [
        (item.score, reason)
        for item, reason in reasons
        if item.class_id == truth.class_id and box_iou(item.box_xyxy[None], truth.box_xyxy[None])[0, 0] > _SAME_BOX_IOU
    ]
    return max(found)[1] if found else "not detected"


def _turn_kind(axis: Array, angle_deg: float) -> tuple[str, tuple[Array, float] | None]:
    """Name a turn; only one about an axis of the part's own frame by a usual angle is returned as a turn, too."""
    named = [(name, usual) for usual, (name, difference) in _TURNS.items() if abs(angle_deg - usual) <= difference]
    if not named:
        return "turned by another angle", None
    (name, usual), largest = named[0], int(np.argmax(np.abs(axis)))
    if abs(axis[largest]) < _SAME_AXIS_COS:
        return f"{name} about an oblique axis", None
    return f"{name} about {'xyz'[largest]}", (np.eye(3)[largest], usual)
