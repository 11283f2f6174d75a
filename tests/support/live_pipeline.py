"""A live view whose frames come from the test, served over real HTTP."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from object_pose.core.errors import ObjectPoseError
from object_pose.core.frame import Frame
from object_pose.core.results.pose import PoseResults
from object_pose.runtime.live import LiveFrame, NodeState
from object_pose.web.config import WebConfig
from object_pose.web.live.hub import LiveHub, StreamConfig
from object_pose.web.live.view import LiveView
from object_pose.web.server import WebServer
from object_pose.web.services import open_services

_NS = 1_000_000_000


@dataclass
class Pipeline:
    """A pipeline without nodes behind a ``LiveView``: it publishes a frame when the test says so, or all the time."""

    hub: LiveHub
    frame: Frame
    calls: list[str] = field(default_factory=list)
    recording: Path | None = None
    _stamps: Any = field(default_factory=lambda: itertools.count(1_800_000_000 * _NS, 50_000_000))

    def publish(self, *poses, rejections=()):
        """Show the frame with poses, under a new stamp, which is returned."""
        stamp_ns = next(self._stamps)
        results = PoseResults(tuple(poses), tuple(rejections))
        self.hub.report("pose_node", NodeState("ok", "running", {"rate_hz": "20.0", "dropped_frames": "3"}))
        self.hub.publish(LiveFrame(replace(self.frame, stamp_ns=stamp_ns), "camera", results, np.eye(4), 12.5))
        return str(stamp_ns)

    def say_model(self, name):
        """Say once, as the detection node does each second, which model it runs."""
        self.hub.report("detection_node", NodeState("ok", "running", {"model": f"/models/{name}.onnx"}))

    @contextmanager
    def running(self, *poses):
        stop = threading.Event()

        def run():
            while not stop.wait(0.005):
                self.publish(*poses)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def pause(self, paused):
        self.calls.append("pause" if paused else "resume")
        return True

    def step(self):
        self.calls.append("step")

    def set_model(self, model):
        raise ObjectPoseError(f"{model} is not for this pipeline")

    def start_recording(self, bag):
        self.recording = bag

    def stop_recording(self):
        self.recording = None


@contextmanager
def serving(tmp_path: Path, pipeline: Pipeline | None, **streams: Any) -> Iterator[httpx.Client]:
    config = WebConfig(port=0, state_folder=str(tmp_path / "state"), shipped_models=False)
    services = open_services(config)
    if pipeline is not None:
        services.live = LiveView(pipeline.hub, pipeline, tmp_path / "recordings", StreamConfig(**streams))
    server = WebServer(services)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with httpx.Client(base_url=server.url, timeout=20.0) as client:
            yield client
    finally:
        server.stop()
        thread.join()
