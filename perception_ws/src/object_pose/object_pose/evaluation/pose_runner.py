"""Poses against the truth, frame by frame, over any source of labelled frames."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.metrics.pose import MIN_VISIBILITY, FrameMatches, PoseScore, match_frame, score_frames
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.config import LIVE
from object_pose.core.results.pose import ObjectTruth
from object_pose.evaluation.bop_scorer import BopScore, BopScorer
from object_pose.io.bop import bop_names, bop_scenes, has_truth, read_bop_scene, scene_files
from object_pose.runtime.pose_estimator import FrameEstimate, PoseEstimator

MIN_SCORE = LIVE.solver.acceptance.min_score


@dataclass(frozen=True)
class LabelledFrame:
    """A frame, its true objects, and BOP's scene and image number (or a running number).

    ``split`` is the scene's folder in data of several, whose scenes may have equal numbers, such as 'train';
    ``sensor`` is which of a scene's several sensors took the frame, such as '_cam1'.
    """

    scene_id: int
    image_id: int
    frame: Frame
    truths: tuple[ObjectTruth, ...]
    sensor: str = ""
    split: str = ""

    @property
    def name(self) -> str:
        """What tells the frame from all others of its data."""
        number = f"{self.scene_id:06d}_{self.image_id:06d}{self.sensor}"
        return f"{self.split}_{number}" if self.split else number

    @property
    def source(self) -> str:
        """What frames may share whose numbers tell them apart, as the end of a file's name, such as '_train_cam1'."""
        return f"_{self.split}{self.sensor}" if self.split else self.sensor


@dataclass(frozen=True)
class PoseEvaluation:
    """The score over all frames, how many there were, the median time of each stage, BOP's score if asked for.

    ``accepted`` is the score of the poses from ``MIN_SCORE`` on, those that live frames give; ``score`` is of all.
    """

    score: PoseScore
    accepted: PoseScore
    frames: int
    timings_ms: dict[str, float]
    bop: BopScore | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; figures that do not exist become null."""
        values = dataclasses.asdict(self.score) | {"frames": self.frames, "timings_ms": self.timings_ms}
        values["accepted"] = self.accepted_json()
        values |= self.bop.to_json() if self.bop else {}
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}

    def accepted_json(self) -> dict[str, float | None]:
        """Return recall and precision of the accepted poses, with the least score of one."""
        figures = {"recall_add_01d": self.accepted.recall_add_01d, "precision": self.accepted.precision}
        return {"min_score": MIN_SCORE, **{name: None if math.isnan(v) else v for name, v in figures.items()}}


OnFrame = Callable[[LabelledFrame, FrameEstimate, FrameMatches], None]
Estimated = tuple[LabelledFrame, FrameEstimate]


def evaluate_pose(
    estimator: PoseEstimator,
    frames: Iterable[LabelledFrame],
    min_visibility: float = MIN_VISIBILITY,
    on_frame: OnFrame | None = None,
    bop: BopScorer | None = None,
) -> PoseEvaluation:
    """Run every frame through the estimator and score it; see ``evaluate_estimates``."""
    estimated = ((item, estimator.estimate(item.frame)) for item in frames)
    return evaluate_estimates(estimator.card.objects, estimated, min_visibility, on_frame, bop)


def evaluate_estimates(
    objects: Sequence[ObjectModel],
    estimated: Iterable[Estimated],
    min_visibility: float = MIN_VISIBILITY,
    on_frame: OnFrame | None = None,
    bop: BopScorer | None = None,
) -> PoseEvaluation:
    """Score the estimates of frames, with ``bop`` also as the BOP challenge does.

    ``on_frame`` sees each one on the way. Raises ``DataError`` where there are no frames.
    """
    matches: list[FrameMatches] = []
    timings: dict[str, list[float]] = {}
    for item, result in estimated:
        matches.append(match_frame(result.results.poses, item.truths, objects, min_visibility))
        for stage, milliseconds in result.timings_ms.items():
            timings.setdefault(stage, []).append(milliseconds)
        if bop:
            bop.add(item.frame, item.truths, result.results.poses)
        if on_frame:
            on_frame(item, result, matches[-1])
    if not matches:
        raise DataError("there are no frames to evaluate")
    medians = {stage: round(float(np.median(values)), 2) for stage, values in timings.items()}
    return pose_evaluation(matches, medians, bop.score() if bop else None)


def pose_evaluation(
    matches: Sequence[FrameMatches], timings_ms: dict[str, float], bop: BopScore | None = None
) -> PoseEvaluation:
    """Return the evaluation of matched frames."""
    accepted = score_frames(frame.above(MIN_SCORE) for frame in matches)
    return PoseEvaluation(score_frames(matches), accepted, len(matches), timings_ms, bop)


def bop_frames(data: Path, labels: Sequence[str], with_depth: bool = True) -> Iterator[LabelledFrame]:
    """Yield the labelled frames of a BOP scene, of one of its sensors, or of every scene with a truth below a folder.

    Depth is left out where it is not wanted. Raises ``DataError`` where there is none.
    """
    found = bop_scenes(data)
    scenes = [scene for scene in found if scene == data or has_truth(scene)]
    if not scenes:
        hint = (
            "name a folder with scene_camera.json and scene_gt.json, or of several sensors a scene_camera_SENSOR.json"
        )
        raise DataError(f"{data} holds no BOP scene" + (" with a scene_gt.json" if found else ""), hint)
    names = bop_names(labels)
    places = [scene_files(scene) for scene in scenes]
    has_splits = len({place.folder.parent for place in places}) > 1
    for scene, place in zip(scenes, places):
        split = "_".join(place.folder.parent.relative_to(data).parts) if has_splits else ""
        for item in read_bop_scene(scene, names):
            frame = item.frame if with_depth else dataclasses.replace(item.frame, depth_m=None)
            yield LabelledFrame(item.scene_id, item.image_id, frame, item.truths, place.sensor, split)
