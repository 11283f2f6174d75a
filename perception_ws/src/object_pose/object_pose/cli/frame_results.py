"""Frames to results, one by one: a line on the terminal, and a folder of results.jsonl and pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from object_pose.core.arrays import Image
from object_pose.core.vision.drawing import draw_poses
from object_pose.io.cameras.recorded import NamedFrame
from object_pose.io.images import write_image
from object_pose.io.records import frame_record
from object_pose.io.task_drawing import draw_result
from object_pose.io.writers import json_lines
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor


@dataclass(frozen=True)
class FrameResult:
    """What one frame gave, as JSON values; ``draw`` returns the annotated picture."""

    record: dict[str, Any]
    draw: Callable[[], Image]


Predict = Callable[[NamedFrame], FrameResult]


def predict_task(predictor: Predictor) -> Predict:
    """Return a function that gives what a model of any task says of a frame."""
    task, labels = predictor.task.name, predictor.card.labels

    def predict(item: NamedFrame) -> FrameResult:
        rgb = item.frame.rgb
        result = predictor.predict(rgb, depth=item.frame.aligned_depth)
        record = {"name": item.name, "stamp_ns": item.frame.stamp_ns, **predictor.describe(result)}
        return FrameResult(record, lambda: draw_result(task, rgb, result, labels))

    return predict


def predict_poses(pipeline: PoseEstimator, with_timings: bool = True) -> Predict:
    """Return a function that gives a frame's detections and poses; without timings it repeats to the last digit."""
    labels = pipeline.card.labels

    def predict(item: NamedFrame) -> FrameResult:
        frame = item.frame
        found = pipeline.register(frame)
        results, timings = found.results, found.timings_ms if with_timings else None
        record = frame_record(item.name, frame.stamp_ns, labels, found.detections, results, timings)
        return FrameResult(record, lambda: draw_poses(frame.rgb, results.poses, frame.camera, results.rejections))

    return predict


def show_results(frames: Iterable[NamedFrame], predict: Predict, output: Path | None, as_json: bool) -> None:
    """Print a line a frame, as text or as JSON; with ``output`` write results.jsonl and a picture a frame there."""
    with _record_writer(output) as write:
        for item in tqdm(frames, unit="frame", disable=as_json or not sys.stderr.isatty()):
            result = predict(item)
            write(result.record)
            if output:
                write_image(output / f"{item.name}.png", result.draw())
            tqdm.write(json.dumps(result.record) if as_json else summary(result.record))


@contextmanager
def _record_writer(output: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    if output is None:
        yield lambda record: None
        return
    with json_lines(output / "results.jsonl") as writer:
        yield writer.write


def summary(record: dict[str, Any]) -> str:
    """Return a line for people that says what a record holds."""
    kind = next((kind for kind in _SUMMARIES if kind in record), None)
    return f"{record['name']}: {_SUMMARIES[kind](record) if kind else json.dumps(record)}"


def _of_poses(record: dict[str, Any]) -> str:
    poses = "; ".join(
        f"{pose['class_name']} {pose['score']:.2f} at ({', '.join(f'{value:.3f}' for value in pose['position'])}) m"
        for pose in record["poses"]
    )
    rejected = "".join(f" [{item['class_name']} rejected: {item['reason']}]" for item in record["rejections"])
    return f"{poses or 'nothing'}{rejected}"


def _of_detections(record: dict[str, Any]) -> str:
    return ", ".join(f"{item['class_name']} {item['score']:.2f}" for item in record["detections"]) or "nothing"


def _of_boxes(record: dict[str, Any]) -> str:
    boxes = (
        f"{box['label']} {box['score']:.2f} at ({box['x']:.1f}, {box['y']:.1f}) px, yaw {box['yaw']:.2f} rad"
        for box in record["boxes"]
    )
    return "; ".join(boxes) or "nothing"


def _of_mask(record: dict[str, Any]) -> str:
    return f"{record['label']} covers {record['cover']:.1%} in {len(record['regions'])} regions"


def _of_class(record: dict[str, Any]) -> str:
    return f"{record['label']} {record['score']:.2f}"


# What a record has tells what it is; poses come with detections, so they are looked for first.
_SUMMARIES: dict[str, Callable[[dict[str, Any]], str]] = {
    "poses": _of_poses,
    "detections": _of_detections,
    "boxes": _of_boxes,
    "regions": _of_mask,
    "probabilities": _of_class,
}
