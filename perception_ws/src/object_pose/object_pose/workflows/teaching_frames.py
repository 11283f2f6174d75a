"""Frames of a recording whose tracked poses are sure enough to learn from, and different enough to be worth it.

A track is sure where detections of single frames, made without it, agree with it before and after, and none contradicts
it between: an object that the detector misses in most frames is labelled by what it finds in a few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.metrics.pose import add_error
from object_pose.core.object_model import ObjectModel
from object_pose.core.params import parameter
from object_pose.core.results.pose import ObjectPose
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.core.vision.roi import painted_over
from object_pose.io.bop_writing import LabelledFrame
from object_pose.runtime.pose_estimator import PoseEstimator

_NEAR_DIAMETERS = 0.7  # between a detection and the track that it is compared with
_REGISTER_INTERVAL_S = 0.5


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


@dataclass(frozen=True)
class TrackedFrame:
    """A frame with the poses of its tracks, and whether a detection agreed: by track id, None where there was none."""

    frame: Frame
    poses: tuple[ObjectPose, ...]
    agreements: dict[int, bool | None]


def tracked_frames(
    frames: Iterable[Frame], model: PoseEstimator, tracking: PoseEstimator, config: TeachingConfig
) -> Iterator[TrackedFrame]:
    """Yield one frame in ``check_every`` as ``tracking`` knows it, compared with what ``model`` finds in it alone."""
    for number, frame in enumerate(frames):
        poses = tracking.estimate(frame).results.poses
        if number % config.check_every:
            continue
        alone = model.register(frame).results.poses
        objects = model.card.objects
        agreements = {pose.track_id: _agreement(pose, alone, objects[pose.class_id], config) for pose in poses}
        yield TrackedFrame(frame, poses, agreements)


def tracking_estimator(model: PoseEstimator) -> PoseEstimator:
    """Return an estimator that tracks what it finds, around the same open network."""
    return PoseEstimator(model.detector, tracker_config=TrackerConfig(register_interval_s=_REGISTER_INTERVAL_S))


def sure_frames(
    tracked: Sequence[TrackedFrame], objects: Sequence[ObjectModel], config: TeachingConfig
) -> list[LabelledFrame]:
    """Return the frames with a sure pose in the order of time; what is not sure is painted over."""
    sure_tracks = _sure_moments(tracked)
    labelled = []
    for number, item in enumerate(tracked):
        is_sure = [
            (pose.track_id, number) in sure_tracks and _is_precise(pose, objects[pose.class_id], config)
            for pose in item.poses
        ]
        if any(is_sure):
            labelled.append(_without_doubtful(item, is_sure))
    return labelled


def split_by_time(
    frames: Sequence[LabelledFrame], parts: int = 8, held_out: Sequence[int] = (2, 6)
) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """Split into (learned, held out): of as many ``parts`` of the recording, some are held out as wholes."""
    place = [number * parts // max(1, len(frames)) for number in range(len(frames))]
    learned = [frame for frame, part in zip(frames, place) if part not in held_out]
    return learned, [frame for frame, part in zip(frames, place) if part in held_out]


def diverse(frames: Sequence[LabelledFrame], count: int, min_new_deg: float, fewest: int) -> list[LabelledFrame]:
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


def _views(frame: LabelledFrame) -> dict[int, list[Array]]:
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
    for number, item in enumerate(tracked):
        for track_id, agrees in item.agreements.items():
            if agrees is False:
                open_since.pop(track_id, None)
                continue
            if agrees and track_id in open_since:
                sure |= {(track_id, place) for place in (*open_since[track_id], number)}
            if agrees:
                open_since[track_id] = [number]
            elif track_id in open_since:
                open_since[track_id].append(number)
    return sure


def _is_precise(pose: ObjectPose, model: ObjectModel, config: TeachingConfig) -> bool:
    sigma_m = float(np.sqrt(np.linalg.eigvalsh(pose.covariance[:3, :3]).max()))
    return pose.score >= config.min_score and sigma_m <= config.max_sigma_share * model.diameter


def _without_doubtful(item: TrackedFrame, is_sure: Sequence[bool]) -> LabelledFrame:
    """Return the frame with its sure poses; where others are nothing is seen, so that they are no background either."""
    frame = item.frame
    doubtful = np.zeros(frame.rgb.shape[:2], dtype=bool)
    for pose, sure in zip(item.poses, is_sure):
        if not sure:
            corners = np.clip(np.rint(pose.box_xyxy), 0, [*frame.camera.wh] * 2)
            left, top, right, bottom = corners.astype(int)
            doubtful[top:bottom, left:right] = True
    kept = tuple(pose for pose, sure in zip(item.poses, is_sure) if sure)
    rgb = painted_over(frame.rgb, doubtful) if doubtful.any() else frame.rgb
    depth_m = None if frame.depth_m is None else np.where(doubtful, np.float32(0.0), frame.depth_m)
    return LabelledFrame(rgb, depth_m, frame.camera, kept)
