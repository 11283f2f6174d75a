"""What a subscriber saw of a run, and what it says about the pipeline."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from object_pose_msgs.msg import ObjectTruthArray
from vision_msgs.msg import Detection3DArray

from object_pose.core.metrics.pose import FrameMatches, match_frame, score_frames
from object_pose.core.object_model import ObjectModel
from object_pose.io.messages import truths_from_message
from object_pose.ros.messages.conversions import detections_3d_from_message

ValueT = TypeVar("ValueT")

_NS_PER_MS = 1_000_000


@dataclass
class Observations:
    """What arrived, by the camera's stamp in nanoseconds; ``dropped`` are the pipeline's totals at each frame."""

    detections: dict[int, Detection3DArray] = field(default_factory=dict)
    latencies_ns: dict[int, int] = field(default_factory=dict)
    truths: dict[int, ObjectTruthArray] = field(default_factory=dict)
    inference_ms: dict[int, float] = field(default_factory=dict)
    dropped: dict[int, int] = field(default_factory=dict)

    @property
    def start_ns(self) -> int:
        """The first frame of which detections came, and the truth if any truth came: topics connect one by one."""
        return max(min(self.detections), min(self.truths, default=0))

    def between(self, start_ns: int, end_ns: int) -> Observations:
        """Return what belongs to frames with start <= stamp < end."""

        def inside(values: Mapping[int, ValueT]) -> dict[int, ValueT]:
            return {stamp: value for stamp, value in values.items() if start_ns <= stamp < end_ns}

        return Observations(
            inside(self.detections),
            inside(self.latencies_ns),
            inside(self.truths),
            inside(self.inference_ms),
            inside(self.dropped),
        )


def summarize(seen: Observations, seconds: float, objects: Sequence[ObjectModel], transport: str) -> dict[str, Any]:
    """Return the demo's summary; unknowns are None.

    Targets are the visible true objects of the frames that arrived. ``inference_ms`` is the time in the networks of one
    image, ``overhead_ratio`` the latency over it; ``load`` is how many threads of the whole machine wanted a core in
    the last minute.
    """
    latency_ms = np.array(list(seen.latencies_ns.values())) / _NS_PER_MS
    latency = {f"p{percent}": _percentile(latency_ms, percent) for percent in (50, 95, 99)}
    inference = _percentile(list(seen.inference_ms.values()), 50)
    score = score_frames(_matches(seen, objects))
    drops = list(seen.dropped.values())
    values = {
        "transport": transport,
        "seconds": seconds,
        "frames_published": len(seen.truths),
        "arrays_received": len(seen.detections),
        "rate_hz": len(seen.detections) / seconds,
        "rate_share": len(seen.detections) / len(seen.truths) if seen.truths else math.nan,
        "detector_hz": len(seen.inference_ms) / seconds,
        "latency_ms": latency,
        "inference_ms": {"p50": inference},
        "overhead_ratio": latency["p50"] / inference if inference else math.nan,
        "targets": score.targets,
        "recall_add_01d": score.recall_add_01d,
        "precision": score.precision,
        "translation_error_mm": {"p50": score.translation_error_mm_p50, "p95": score.translation_error_mm_p95},
        "rotation_error_deg": {"p50": score.rotation_error_deg_p50, "p95": score.rotation_error_deg_p95},
        "drops": max(drops) - min(drops) if drops else 0,
        "machine": {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]},
    }
    return {name: _plain(value) for name, value in values.items()}


def _matches(seen: Observations, objects: Sequence[ObjectModel]) -> list[FrameMatches]:
    names = [model.name for model in objects]
    return [
        match_frame(detections_3d_from_message(message, names), truths_from_message(seen.truths[stamp]), objects)
        for stamp, message in seen.detections.items()
        if stamp in seen.truths
    ]


def _percentile(values: Sequence[float] | np.ndarray[Any, Any], percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else math.nan


def _plain(value: Any) -> Any:
    """Round for people, and say None where JSON has no number."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
