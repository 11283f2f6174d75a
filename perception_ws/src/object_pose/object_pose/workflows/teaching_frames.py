"""Frames of a recording whose tracked poses are sure enough to learn from, and different enough to be worth it.

A track is sure where detections of single frames, made without it, agree with it before and after, and none contradicts
it between: an object that the detector misses in most frames is labelled by what it finds in a few. Poses are chosen
without their images, which are read once more then, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.frame import NS_PER_S, Frame
from object_pose.core.geometry import se3
from object_pose.core.metrics.pose import add_error
from object_pose.core.object_model import ObjectModel
from object_pose.core.params import parameter
from object_pose.core.results.pose import ObjectPose
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.core.vision.boxes import box_area, box_intersection, box_iou
from object_pose.core.vision.roi import painted_over
from object_pose.io.bop_writing import LabelledFrame
from object_pose.runtime.pose_estimator import PoseEstimator

_NEAR_DIAMETERS = 0.7  # between a detection and the track that it is compared with
_REGISTER_INTERVAL_S = 0.5
_CANDIDATE_SCORE = 0.05  # from which on a detection may be an object
# A candidate is of a sure pose where their boxes overlap by so much, or where so much of it is inside the pose's box.
_SAME_OVERLAP, _INSIDE_SHARE = 0.3, 0.7


@dataclass(frozen=True)
class TeachingConfig:
    """Which tracked poses are learned from, and how many frames."""

    check_every: int = parameter(
        5, "every so many frames single detections are compared with the tracks", minimum=1, maximum=1000
    )
    min_score: float = parameter(0.6, "least score of a pose that is learned from", minimum=0.0, maximum=1.0)
    max_sigma_share: float = parameter(
        0.04, "greatest standard deviation of its position, as a share of the diameter", minimum=0.0, maximum=1.0
    )
    max_difference_share: float = parameter(
        0.05, "ADD(-S) of a track and a detection that agree, as a share of the diameter", minimum=0.0, maximum=1.0
    )
    min_new_deg: float = parameter(
        2.0, "a frame shows an object from at least this far beside those that are taken", minimum=0.0, maximum=90.0
    )
    max_frames: int = parameter(200, "frames that are learned from", minimum=1, maximum=10_000)
    held_out_frames: int = parameter(50, "frames that both models are compared on", minimum=1, maximum=10_000)
    gap_s: float = parameter(
        1.0, "seconds between frames that are learned from and those that are held out", minimum=0.0, maximum=3600.0
    )


@dataclass(frozen=True)
class TrackedFrame:
    """What is known of the frame at the place ``number`` of a recording.

    Of its tracked poses, ``agreements`` say by track id whether a detection agreed, None where there was none.
    ``candidates_xyxy`` (N, 4) are the boxes of all that may be an object, however unsure.
    """

    number: int
    stamp_ns: int
    poses: tuple[ObjectPose, ...]
    agreements: dict[int, bool | None]
    candidates_xyxy: Array


@dataclass(frozen=True)
class SureFrame:
    """The sure poses of the frame at the place ``number`` of a recording, and the boxes (N, 4) of what is doubtful."""

    number: int
    stamp_ns: int
    poses: tuple[ObjectPose, ...]
    doubtful_xyxy: Array


def tracked_frames(
    frames: Iterable[Frame], model: PoseEstimator, tracking: PoseEstimator, config: TeachingConfig
) -> Iterator[TrackedFrame]:
    """Yield one frame in ``check_every`` as ``tracking`` knows it, compared with what ``model`` finds in it alone."""
    usual = model.detector.decoding
    sensitive = model.detector.with_decoding(replace(usual, score_threshold=_CANDIDATE_SCORE))
    for number, frame in enumerate(frames):
        poses = tracking.estimate(frame).results.poses
        if number % config.check_every:
            continue
        candidates = sensitive.predict(frame.rgb, depth=frame.aligned_depth)
        detections = candidates.select(candidates.scores >= usual.score_threshold)
        alone = model.register(frame, detections=detections).results.poses
        objects = model.card.objects
        agreements = {pose.track_id: _agreement(pose, alone, objects[pose.class_id], config) for pose in poses}
        yield TrackedFrame(number, frame.stamp_ns, poses, agreements, candidates.boxes_xyxy)


def tracking_estimator(model: PoseEstimator) -> PoseEstimator:
    """Return an estimator that tracks what it finds, around the same open network."""
    return PoseEstimator(model.detector, tracker_config=TrackerConfig(register_interval_s=_REGISTER_INTERVAL_S))


def sure_frames(
    tracked: Sequence[TrackedFrame], objects: Sequence[ObjectModel], config: TeachingConfig
) -> list[SureFrame]:
    """Return the frames with a sure pose, in the order of time."""
    sure_tracks = _sure_moments(tracked)
    found = []
    for place, item in enumerate(tracked):
        is_sure = [
            (pose.track_id, place) in sure_tracks and _is_precise(pose, objects[pose.class_id], config)
            for pose in item.poses
        ]
        if any(is_sure):
            poses = tuple(pose for pose, sure in zip(item.poses, is_sure) if sure)
            found.append(SureFrame(item.number, item.stamp_ns, poses, _doubtful(item, is_sure)))
    return found


def labelled_frames(frames: Iterable[Frame], chosen: Sequence[SureFrame]) -> Iterator[LabelledFrame]:
    """Yield those frames of a recording that are chosen, in its order.

    Where something is doubtful nothing is seen, so that it is no background either.
    """
    wanted = {item.number: item for item in chosen}
    for number, frame in enumerate(frames):
        if number in wanted:
            yield _without_doubtful(frame, wanted.pop(number))
        if not wanted:
            return


def split_by_time(
    frames: Sequence[SureFrame], gap_s: float, parts: int = 8, held_out: Sequence[int] = (2, 6)
) -> tuple[list[SureFrame], list[SureFrame]]:
    """Split into (learned, held out): of as many ``parts`` of the recording, some are held out as wholes.

    What is nearer than ``gap_s`` to a frame that is held out is in neither.
    """
    place = [number * parts // max(1, len(frames)) for number in range(len(frames))]
    compared = [frame for frame, part in zip(frames, place) if part in held_out]
    stamps = np.array([frame.stamp_ns for frame in compared], dtype=np.int64)
    gap_ns = round(gap_s * NS_PER_S)
    learned = [
        frame
        for frame, part in zip(frames, place)
        if part not in held_out and np.all(np.abs(stamps - frame.stamp_ns) >= gap_ns)
    ]
    return learned, compared


def diverse(frames: Sequence[SureFrame], count: int, min_new_deg: float, fewest: int) -> list[SureFrame]:
    """Return up to ``count`` frames, the one next whose views are farthest from those taken, in the order of time.

    They end where a frame shows nothing from ``min_new_deg`` beside the views that are taken, but not before the
    ``fewest``.
    """
    views = [_views(frame) for frame in frames]
    novelty = np.full(len(frames), np.inf)
    taken: list[int] = []
    while len(taken) < min(count, len(frames)):
        novelty[taken] = -1.0
        best = int(np.argmax(novelty))
        if len(taken) >= fewest and novelty[best] < np.radians(min_new_deg):
            break
        taken.append(best)
        for number, own in enumerate(views):
            novelty[number] = min(novelty[number], _farthest(own, views[best]))
    return [frames[number] for number in sorted(taken)]


def _views(frame: SureFrame) -> dict[int, list[Array]]:
    """Return from where each class is seen: directions to the camera in the objects' frames."""
    views: dict[int, list[Array]] = {}
    for pose in frame.poses:
        towards = se3.inverse(pose.T_camera_object)[:3, 3]
        views.setdefault(pose.class_id, []).append(towards / np.linalg.norm(towards))
    return views


def _farthest(own: dict[int, list[Array]], other: dict[int, list[Array]]) -> float:
    """Return the angle by which the newest of a frame's views is beside all those of another frame."""
    angles = [
        min((float(np.arccos(np.clip(view @ seen, -1.0, 1.0))) for seen in other.get(class_id, [])), default=np.pi)
        for class_id, views in own.items()
        for view in views
    ]
    return max(angles)


def _agreement(
    pose: ObjectPose, alone: Sequence[ObjectPose], model: ObjectModel, config: TeachingConfig
) -> bool | None:
    """Return whether single detections confirm a tracked pose, or contradict it; None where there is none near."""
    near = [
        add_error(other.T_camera_object, pose.T_camera_object, model.points_object, model.symmetry) / model.diameter
        for other in alone
        if other.class_id == pose.class_id
        and np.linalg.norm(other.T_camera_object[:3, 3] - pose.T_camera_object[:3, 3])
        < _NEAR_DIAMETERS * model.diameter
    ]
    return min(near) <= config.max_difference_share if near else None


def _sure_moments(tracked: Sequence[TrackedFrame]) -> set[tuple[int, int]]:
    """Return the (track id, place) of poses between two agreements without a contradiction."""
    sure: set[tuple[int, int]] = set()
    open_since: dict[int, list[int]] = {}  # places since the last agreement, which is the first of them
    for place, item in enumerate(tracked):
        for track_id, agrees in item.agreements.items():
            if agrees is False:
                open_since.pop(track_id, None)
                continue
            if agrees and track_id in open_since:
                sure |= {(track_id, before) for before in (*open_since[track_id], place)}
            if agrees:
                open_since[track_id] = [place]
            elif track_id in open_since:
                open_since[track_id].append(place)
    return sure


def _is_precise(pose: ObjectPose, model: ObjectModel, config: TeachingConfig) -> bool:
    sigma_m = float(np.sqrt(np.linalg.eigvalsh(pose.covariance[:3, :3]).max()))
    return pose.score >= config.min_score and sigma_m <= config.max_sigma_share * model.diameter


def _doubtful(item: TrackedFrame, is_sure: Sequence[bool]) -> Array:
    """Return the boxes (N, 4) of the poses that are not sure, and of the candidates that show none of the sure ones."""
    boxes = np.array([pose.box_xyxy for pose in item.poses]).reshape(-1, 4)
    sure, candidates = boxes[np.array(is_sure)], item.candidates_xyxy
    inside = box_intersection(candidates, sure) / np.maximum(box_area(candidates), 1e-9)[:, None]
    is_known = (box_iou(candidates, sure) >= _SAME_OVERLAP) | (inside >= _INSIDE_SHARE)
    return np.concatenate([boxes[~np.array(is_sure)], candidates[~is_known.any(axis=1)]])


def _without_doubtful(frame: Frame, item: SureFrame) -> LabelledFrame:
    doubtful = np.zeros(frame.rgb.shape[:2], dtype=bool)
    for low, high in zip(np.floor(item.doubtful_xyxy[:, :2]), np.ceil(item.doubtful_xyxy[:, 2:]) + 1.0):
        (left, top), (right, bottom) = np.clip([low, high], 0, frame.camera.wh).astype(int)
        doubtful[top:bottom, left:right] = True
    rgb = painted_over(frame.rgb, doubtful)
    depth_m = None if frame.depth_m is None else np.where(doubtful, np.float32(0.0), frame.depth_m)
    return LabelledFrame(rgb, depth_m, frame.camera, item.poses)
