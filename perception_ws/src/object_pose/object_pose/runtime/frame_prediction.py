"""What a model says of one frame: poses where it knows its objects' geometry, the result of its task otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from object_pose.core.arrays import Image
from object_pose.core.frame import Frame
from object_pose.core.pose.misalignment import Misalignment
from object_pose.core.results.schema import Result
from object_pose.core.vision.drawing import as_picture, draw_poses
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.timing import StageClock
from object_pose.tasks.pose import summarise_poses


@dataclass(frozen=True)
class FramePrediction:
    """What one frame gave: ``results``, such as detections and the poses from them, and a line for people.

    ``draw`` returns the annotated picture; ``timings_ms`` per stage, and ``total``; ``misalignment`` is why the image
    and depth contradict each other, if they do.
    """

    results: tuple[Result, ...]
    summary: str
    draw: Callable[[], Image]
    timings_ms: Mapping[str, float]
    misalignment: Misalignment | None = None

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return all results in one JSON object; ``labels`` names the class ids."""
        return {name: value for result in self.results for name, value in result.to_json(labels).items()}


def predict_task(predictor: Predictor, frame: Frame) -> FramePrediction:
    """Return the result of a model's task."""
    task, labels, clock = predictor.task, predictor.card.labels, StageClock()
    with clock.stage("total"):
        result = predictor.predict(frame.rgb, clock, frame.aligned_depth)

    def draw() -> Image:
        return task.draw(as_picture(frame.rgb), result, labels)

    return FramePrediction((result,), task.summarise(result, labels), draw, clock.timings_ms)


def predict_poses(estimator: PoseEstimator, frame: Frame) -> FramePrediction:
    """Return detections and poses."""
    found = estimator.estimate(frame)
    results = found.results

    def draw() -> Image:
        return draw_poses(frame.rgb, results.poses, frame.camera, results.rejections)

    both = found.detections, results
    return FramePrediction(both, summarise_poses(results), draw, found.timings_ms, found.misalignment)
