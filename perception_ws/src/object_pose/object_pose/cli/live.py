"""The web server beside a running pipeline: ROS and HTTP in one process of lower priority."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from object_pose.core.errors import ObjectPoseError
from object_pose.ros.nodes.spinning import spin
from object_pose.ros.nodes.web_bridge import WebBridge
from object_pose.runtime.priority import yield_cores
from object_pose.runtime.processes import end_with_parent
from object_pose.web.live.hub import LiveHub
from object_pose.web.live.view import LiveView
from object_pose.web.server import WebServer
from object_pose.web.services import Services

_STOP_WITHIN_S = 15.0
_NICE = 4
_RECORDER = "recorder"
_FAILED = 2


class LiveControl:
    """A ``PipelineControl``: the bridge's services, and recordings in a process of their own."""

    def __init__(self, ros_arguments: Sequence[str]) -> None:
        self._ros_arguments = ros_arguments
        self._bridge: WebBridge | None = None
        # The kernel ends a process with the thread that started it, and those of requests come and go.
        self._starting = ThreadPoolExecutor(1, "recordings")
        self._bag: Path | None = None
        self._recorder: subprocess.Popen[bytes] | None = None

    def attach(self, bridge: WebBridge) -> WebBridge:
        """Use a bridge from now on."""
        self._bridge = bridge
        return bridge

    def pause(self, paused: bool) -> bool:
        """Stop or start the camera; False where the camera is not ours to stop."""
        return self._attached.pause(paused)

    def step(self) -> None:
        """Let a paused camera take one frame."""
        self._attached.step()

    def set_model(self, model: Path) -> Sequence[str]:
        """Switch the model; return its classes."""
        return self._attached.set_model(model)

    @property
    def recording(self) -> Path | None:
        """The bag that is being written; None where its process has ended."""
        return self._bag if self._recorder and self._recorder.poll() is None else None

    def start_recording(self, bag: Path) -> None:
        """Record the pipeline's topics into a new bag."""
        bag.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "object_pose.cli.main", "bag", "record", str(bag), *self._ros_arguments]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, start_new_session=True, preexec_fn=end_with_parent())

        self._recorder = recorder = self._starting.submit(start).result()
        self._bag = bag
        self._attached.wait_for_node(_RECORDER, lambda: recorder.poll() is None)

    def stop_recording(self) -> None:
        """End the recording with a whole bag; raises ``ObjectPoseError`` where it has none."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        recorder.send_signal(signal.SIGINT)
        try:
            code = recorder.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            recorder.kill()
            code = recorder.wait()
        if code == _FAILED and self._bag and not self._bag.exists():
            problem = f"nothing was recorded, and there is no recording {self._bag.name}"
            raise ObjectPoseError(problem, "was it stopped before the pipeline's first message? the server's log says")
        if code != 0:
            raise ObjectPoseError(f"the recording {self._bag} ended with exit code {code}", "the server's log says why")

    @property
    def _attached(self) -> WebBridge:
        if self._bridge is None:
            raise ObjectPoseError("the pipeline is not connected yet", "try again in a moment")
        return self._bridge


def serve_live(services: Services, ros_arguments: Sequence[str]) -> None:
    """Serve the pipeline of this ROS domain until SIGINT; other processes go first on a busy machine."""
    yield_cores(_NICE)
    hub, control = LiveHub(), LiveControl(ros_arguments)
    services.live = LiveView(hub, control, services.config.state / "recordings", services.config.streams)
    services.models.listeners.append(lambda task, model: _switch(control, task, model))
    server = WebServer(services)
    print(f"object_pose answers on {server.url}", flush=True)
    thread = threading.Thread(target=server.run, name="web server")
    thread.start()
    try:
        spin([lambda: control.attach(WebBridge(hub))], ros_arguments)
    finally:
        server.stop()
        thread.join()


def _switch(control: LiveControl, task: str, model: Path) -> None:
    if task == "pose":
        control.set_model(model)
