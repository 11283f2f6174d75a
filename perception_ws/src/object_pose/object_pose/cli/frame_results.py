"""Frames to results, one by one: a line on the terminal, and a folder of results.jsonl and pictures."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from object_pose.core.arrays import Image
from object_pose.core.pose.misalignment import Cause
from object_pose.io.cameras.recorded import NamedFrame
from object_pose.io.images import write_image
from object_pose.io.writers import FrameRecord, json_lines
from object_pose.runtime.frame_prediction import predict_poses, predict_task
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameResult:
    """What one frame gave, as JSON values and as a line for people; ``draw`` returns the annotated picture."""

    record: dict[str, Any]
    summary: str
    draw: Callable[[], Image]


Predict = Callable[[NamedFrame], FrameResult]


def task_results(predictor: Predictor) -> Predict:
    """Return a function that gives what a model of any task says of a frame."""
    labels = predictor.card.labels

    def predict(item: NamedFrame) -> FrameResult:
        found = predict_task(predictor, item.frame)
        record = FrameRecord(item.name, item.frame.stamp_ns, found.results).to_json(labels)
        return FrameResult(record, found.summary, found.draw)

    return predict


def pose_results(estimator: PoseEstimator, with_timings: bool = True) -> Predict:
    """Return a function that gives a frame's detections and poses; without timings it repeats to the last digit.

    Why the image contradicts depth on many objects is logged once a cause.
    """
    labels = estimator.card.labels
    said: set[Cause] = set()

    def predict(item: NamedFrame) -> FrameResult:
        found = predict_poses(estimator, item.frame)
        if found.misalignment and found.misalignment.cause not in said:
            said.add(found.misalignment.cause)
            logger.warning("%s: %s", item.name, found.misalignment)
        timings = found.timings_ms if with_timings else None
        record = FrameRecord(item.name, item.frame.stamp_ns, found.results, timings).to_json(labels)
        return FrameResult(record, found.summary, found.draw)

    return predict


def show_results(frames: Iterable[NamedFrame], predict: Predict, output: Path | None, as_json: bool) -> None:
    """Print a line a frame, as text or as JSON; with ``output`` write results.jsonl and a picture a frame there."""
    with _record_writer(output) as write:
        for item in tqdm(frames, unit="frame", disable=as_json or not sys.stderr.isatty()):
            result = predict(item)
            write(result.record)
            if output:
                write_image(output / f"{item.name}.png", result.draw())
            tqdm.write(json.dumps(result.record) if as_json else f"{item.name}: {result.summary}")


@contextmanager
def _record_writer(output: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    if output is None:
        yield lambda record: None
        return
    with json_lines(output / "results.jsonl") as writer:
        yield writer.write
