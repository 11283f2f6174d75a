"""Watches frames and poses of a running pipeline for drift: range of the reference, Prometheus, retraining requests.

It knows neither MLflow nor ROS: a robot needs nothing more than the reference that came with its model.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import DepthImage, Image
from object_pose.core.errors import ConfigError
from object_pose.core.frame import CameraFrame
from object_pose.core.geometry.camera import Camera
from object_pose.core.metrics.drift import (
    DriftFinding,
    DriftReference,
    describe_depth,
    describe_detections,
    describe_image,
    describe_poses,
    find_drift,
)
from object_pose.core.params import parameter
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseResults
from object_pose.io.bop_writing import LabelledFrame
from object_pose.io.files import replacing
from object_pose.io.images import depth_in_millimetres
from object_pose.io.retraining_request import RequestImage, RetrainingRequest, write_request

_MM = 1e-3


@dataclass(frozen=True)
class MonitorConfig:
    """What is watched, and what happens when it drifts."""

    reference: str = parameter(
        "",
        "reference of the model in use, as 'models pull' writes it; '' takes MODEL.reference.json beside it, if there",
        read_only=True,
    )
    every: int = parameter(15, "of so many frames one is compared", minimum=1, maximum=100_000)
    window: int = parameter(40, "latest frames that are compared with the reference", minimum=2, maximum=10_000)
    min_frames: int = parameter(20, "frames before anything is said", minimum=2, maximum=10_000)
    min_share: float = parameter(
        0.7, "share of the window outside the usual range that is drift", minimum=0.01, maximum=1.0
    )
    requests: str = parameter("", "folder for retraining requests, '' for none", read_only=True)
    request_frames: int = parameter(24, "latest frames that a request holds", minimum=1, maximum=1000, read_only=True)
    request_interval_s: float = parameter(
        3600.0, "between two requests, however long the drift lasts", minimum=0.0, maximum=1e7
    )
    metrics: str = parameter(
        "", "file that is kept up to date for Prometheus' textfile collector, '' for none", read_only=True
    )


def load_reference(config: MonitorConfig, model: Path) -> DriftReference | None:
    """Return the reference of a model, None where none is named and none lies beside it.

    Raises ``ConfigError`` where the file is none.
    """
    path = Path(config.reference) if config.reference else model.with_name(f"{model.stem}.reference.json")
    if not config.reference and not path.exists():
        return None
    try:
        return DriftReference.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no reference of a model: {error}", "'models pull' writes one") from error


@dataclass(frozen=True)
class _Kept:
    """A frame for a request, its depth in whole millimetres: half the memory."""

    rgb: Image
    depth_mm: NDArray[np.uint16] | None
    camera: Camera
    poses: tuple[ObjectPose, ...]

    def frame(self) -> LabelledFrame:
        depth_m: DepthImage | None = None if self.depth_mm is None else np.float32(_MM) * self.depth_mm
        return LabelledFrame(self.rgb, depth_m, self.camera, self.poses)


class DriftMonitor:
    """Describes the frames that it is given and compares the latest of them with a model's reference."""

    def __init__(
        self,
        config: MonitorConfig,
        reference: DriftReference,
        model: Path,
        labels: Sequence[str],
        min_score: float,
    ) -> None:
        self._config, self._reference = config, reference
        self._model, self._labels, self._min_score = model, labels, min_score
        self._window: deque[dict[str, float]] = deque(maxlen=config.window)
        self._kept: deque[_Kept | RequestImage] = deque(maxlen=config.request_frames)
        self._requested_s = -math.inf
        self.findings: tuple[DriftFinding, ...] = ()

    @property
    def statistics(self) -> dict[str, float]:
        """The median of each statistic over the window, to which another thread may add meanwhile."""
        window = tuple(self._window)
        names = {name for item in window for name in item}
        return {name: float(np.median([item[name] for item in window if name in item])) for name in sorted(names)}

    def observe(self, frame: CameraFrame, results: PoseResults) -> RetrainingRequest | None:
        """Take in a frame with its poses; return the retraining request that it led to, if it did."""
        if frame.rgb is None:
            return None
        of_depth = {} if frame.depth_m is None else describe_depth(frame.depth_m)
        if self._config.requests:
            depth_mm = None if frame.depth_m is None else depth_in_millimetres(frame.depth_m)
            sure = tuple(pose for pose in results.poses if pose.score >= self._min_score)
            self._kept.append(_Kept(frame.rgb, depth_mm, frame.camera, sure))
        return self._take(frame.rgb, of_depth | describe_poses(results))

    def observe_image(self, rgb: Image, boxes: Detections, usual_score: float) -> RetrainingRequest | None:
        """Do the same with an image and its boxes; those below ``usual_score`` do not count as found."""
        if self._config.requests:
            found = boxes.select(boxes.scores >= usual_score)
            # Where nothing is found everything may have been missed.
            is_sure = len(found) > 0 and bool((found.scores >= self._min_score).all())
            self._kept.append(RequestImage(rgb, found, is_sure))
        return self._take(rgb, describe_detections(boxes, usual_score))

    def _take(self, rgb: Image, of_others: Mapping[str, float]) -> RetrainingRequest | None:
        """Describe an image beside what is said of depth and answers, and compare the window with the reference."""
        statistics, descriptor = describe_image(rgb)
        statistics["image"] = self._reference.distance(descriptor)
        self._window.append({**statistics, **of_others})
        self.findings = find_drift(self._reference, self._window, self._config.min_share, self._config.min_frames)
        return self._request() if self.findings and self._is_due() else None

    def _is_due(self) -> bool:
        since_s = time.monotonic() - self._requested_s
        return bool(self._config.requests) and since_s >= self._config.request_interval_s

    def _request(self) -> RetrainingRequest:
        frames = [kept.frame() if isinstance(kept, _Kept) else kept for kept in self._kept]
        reasons = [str(finding) for finding in self.findings]
        request = write_request(
            Path(self._config.requests), str(self._model), self._labels, reasons, frames, self.statistics
        )
        self._requested_s = time.monotonic()
        return request

    def write_metrics(self, pipeline: Mapping[str, float]) -> None:
        """Write the file for Prometheus, with figures of the pipeline such as rate and latency, by metric name.

        Raises ``ConfigError`` where the file cannot be written.
        """
        lines = []
        for name, value in pipeline.items():
            lines += _metric(name, {}, value)
        for name, value in self.statistics.items():
            lines += _metric("object_pose_monitor_statistic", {"statistic": name}, value)
        drifting = {finding.statistic: finding.share for finding in self.findings}
        for name in self._reference.quantiles:
            low, high = self._reference.bounds(name)
            bounds = {"high": high} if math.isinf(low) else {"low": low, "high": high}
            for bound, value in bounds.items():
                lines += _metric("object_pose_monitor_reference", {"statistic": name, "bound": bound}, value)
            lines += _metric("object_pose_monitor_drift", {"statistic": name}, drifting.get(name, 0.0))
        try:
            with replacing(self._config.metrics) as temporary:
                temporary.write_text("".join(lines))
        except OSError as error:
            problem = f"{self._config.metrics} cannot be written for Prometheus: {error}"
            raise ConfigError(problem, "is the disk full, may this user write there?") from error


def _metric(name: str, labels: Mapping[str, str], value: float) -> list[str]:
    pairs = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return [f"{name}{{{pairs}}} {value:.9g}\n" if pairs else f"{name} {value:.9g}\n"]
