"""The newest frame of the pipeline and the states of its nodes, between the thread that brings and those that show."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.params import parameter
from object_pose.core.results.pose import ObjectPose, PoseResults, RejectionReason
from object_pose.runtime.live import LiveFrame, NodeState

_WANTED_FOR_S = 5.0
_ALIVE_FOR_S = 3.5  # states come once a second
_LOST_SHOWN_NS = 1_000_000_000
_LATENCIES = 300
_POSE_NODE, _DETECTION_NODE, _CAMERA_NODE = "pose_node", "detection_node", "camera_node"


@dataclass(frozen=True)
class StreamConfig:
    """How often the live view is sent, and to how many: with many clients each gets fewer, so that all keep up."""

    picture_rate_hz: float = parameter(15.0, "pictures a second of a stream", minimum=0.1, maximum=60.0)
    event_rate_hz: float = parameter(15.0, "frame events a second of a stream", minimum=0.1, maximum=60.0)
    messages_per_second: float = parameter(
        400.0, "pictures and events that all streams together get in a second", minimum=1.0, maximum=1e5
    )
    picture_quality: int = parameter(80, "JPEG quality of pictures", minimum=10, maximum=100)
    most_clients: int = parameter(100, "streams at a time; more are refused", minimum=1, maximum=10_000)
    write_timeout_s: float = parameter(
        10.0, "a client that takes nothing for so long is dropped", minimum=0.1, maximum=600.0
    )


@dataclass(frozen=True)
class ShownFrame:
    """A frame that is shown, with the objects that were lost shortly before; ``sequence`` counts the frames."""

    sequence: int
    live: LiveFrame
    lost: tuple[ObjectPose, ...] = ()

    @property
    def stamp_ns(self) -> int:
        """The stamp of its image."""
        return self.live.frame.stamp_ns


class LiveHub:
    """Keeps the newest frame for any number of readers: a ``LiveSink``, in which nothing waits for them.

    While it is frozen the frame stays, but for those that ``admit_one`` lets through.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._shown: ShownFrame | None = None
        self._sequence = 0
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._wanted_until = 0.0
        self._states: dict[str, tuple[NodeState, float]] = {}
        self._frozen, self._admitted = False, 0
        self._arrivals: deque[float] = deque(maxlen=_LATENCIES)
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES)
        self._rejected: Counter[RejectionReason] = Counter()
        self._known: dict[int, tuple[int, ObjectPose]] = {}

    @property
    def is_watched(self) -> bool:
        """Whether anybody asked for frames within the last seconds."""
        return self._now() < self._wanted_until

    def want(self) -> None:
        """Ask for frames for some seconds more."""
        self._wanted_until = self._now() + _WANTED_FOR_S

    def publish(self, frame: LiveFrame) -> None:
        """Show a frame in place of the last one, and wake those who wait for it."""
        with self._lock:
            self._count(frame)
            if self._frozen and not self._admitted:
                return
            self._admitted = max(self._admitted - 1, 0)
            self._sequence += 1
            self._shown = ShownFrame(self._sequence, frame, self._lost(frame))
            waiters, self._waiters = self._waiters, []
        for loop, future in waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, future)

    def report(self, node: str, state: NodeState) -> None:
        """Take what a node says about itself."""
        with self._lock:
            self._states[node] = state, self._now()

    def newest(self) -> ShownFrame | None:
        """Return the frame that is shown; None before the first one."""
        return self._shown

    async def newer_than(self, sequence: int, timeout_s: float) -> ShownFrame | None:
        """Wait for a frame after the one of a number; None where none comes in time."""
        with self._lock:
            if self._shown is not None and self._shown.sequence > sequence:
                return self._shown
            loop = asyncio.get_running_loop()
            entry = loop, loop.create_future()
            self._waiters.append(entry)
        try:
            await asyncio.wait_for(entry[1], timeout_s)
        except asyncio.TimeoutError:
            return None
        finally:
            with self._lock:
                if entry in self._waiters:
                    self._waiters.remove(entry)
        return self._shown

    def freeze(self) -> None:
        """Keep the frame that is shown."""
        with self._lock:
            self._frozen, self._admitted = True, 0

    def thaw(self) -> None:
        """Show what comes."""
        with self._lock:
            self._frozen = False

    def admit_one(self) -> None:
        """Let one frame through although the hub is frozen."""
        with self._lock:
            self._admitted = 1

    @property
    def is_frozen(self) -> bool:
        """Whether the frame stays, here or because the camera is paused."""
        camera = self._alive().get(_CAMERA_NODE)
        return self._frozen or (camera is not None and camera.values.get("paused") == "True")

    @property
    def is_available(self) -> bool:
        """Whether a pipeline runs."""
        return bool(self._alive())

    @property
    def model(self) -> str | None:
        """The name of the model whose objects are found; None where the pipeline has not said it."""
        detection = self._alive().get(_DETECTION_NODE)
        path = detection.values.get("model") if detection else None
        return Path(path).stem if path else None

    def status(self) -> dict[str, Any]:
        """Return model, rate, latency, drops, rejections and the states of the nodes, as JSON values."""
        states = self._alive()
        pose = states.get(_POSE_NODE, NodeState("", "", {}))
        with self._lock:
            latencies = np.array(self._latencies_ms)
            recent = [time_s for time_s in self._arrivals if self._now() - time_s < 2.0]
            rejected = {reason.value: count for reason, count in sorted(self._rejected.items())}
        seconds = recent[-1] - recent[0] if len(recent) > 1 else 0.0
        # Frames are counted where they arrive; while nobody watches, the pose node's own figure has to do.
        rate = (len(recent) - 1) / seconds if seconds > 0.0 else _number(pose, "rate_hz")
        percentiles = np.percentile(latencies, [50, 95]).round(2).tolist() if len(latencies) else [None, None]
        return {
            "available": bool(states),
            "paused": self.is_frozen,
            "model": self.model,
            "rate_hz": None if rate is None else round(rate, 2),
            "latency_ms": dict(zip(("p50", "p95"), percentiles)),
            "dropped": int(_number(pose, "dropped_frames") or 0),
            "rejected": rejected,
            "detector_hz": _number(states.get(_DETECTION_NODE), "rate_hz"),
            "load": round(os.getloadavg()[0] / (os.cpu_count() or 1), 2),
            "nodes": [
                {"name": name, "level": state.level, "message": state.message} for name, state in sorted(states.items())
            ],
        }

    def _alive(self) -> dict[str, NodeState]:
        with self._lock:
            oldest = self._now() - _ALIVE_FOR_S
            return {name: state for name, (state, came_at) in self._states.items() if came_at > oldest}

    def _count(self, frame: LiveFrame) -> None:
        if frame.results is None:
            return
        now = self._now()
        if self._arrivals and now - self._arrivals[-1] > _ALIVE_FOR_S:
            self._latencies_ms.clear()
        self._arrivals.append(now)
        if frame.latency_ms is not None:
            self._latencies_ms.append(frame.latency_ms)
        self._rejected.update(item.reason for item in frame.results.rejections)

    def _lost(self, frame: LiveFrame) -> tuple[ObjectPose, ...]:
        """Return the tracked objects of the last second that the frame does not show; remember those that it does."""
        stamp_ns, results = frame.frame.stamp_ns, frame.results or PoseResults((), ())
        poses = {pose.track_id: pose for pose in results.poses if pose.track_id >= 0}
        self._known |= {track_id: (stamp_ns, pose) for track_id, pose in poses.items()}
        self._known = {
            track_id: (seen_ns, pose)
            for track_id, (seen_ns, pose) in self._known.items()
            if 0 <= stamp_ns - seen_ns <= _LOST_SHOWN_NS
        }
        return tuple(pose for track_id, (_, pose) in self._known.items() if track_id not in poses)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _number(state: NodeState | None, name: str) -> float | None:
    try:
        return float(state.values[name]) if state is not None else None
    except (KeyError, ValueError):
        return None
