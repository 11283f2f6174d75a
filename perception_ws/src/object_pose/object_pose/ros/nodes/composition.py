"""The pipeline as one process, or as one process a node that is restarted when it dies."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from object_pose.core.errors import ObjectPoseError
from object_pose.ros.nodes.camera_node import CameraNode
from object_pose.ros.nodes.detection_node import DetectionNode
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.pose_node import PoseNode
from object_pose.ros.nodes.spinning import prepare_process, spin
from object_pose.runtime.processes import end_with_parent

logger = logging.getLogger(__name__)

_CONFIGURATION_ERROR = 2
_FIRST_BACK_OFF_S = 0.5
_LONGEST_BACK_OFF_S = 10.0
_HEALTHY_AFTER_S = 30.0
_STOP_WITHIN_S = 10.0
_POLL_S = 0.1
# Consumers first, so that the camera's first frame finds somebody listening.
_NODES: dict[str, Callable[[], PipelineNode]] = {"pose": PoseNode, "detection": DetectionNode, "camera": CameraNode}
# Programs that run beside the nodes, such as a web server: name -> module and arguments.
Beside = Mapping[str, Sequence[str]]


def run_in_one_process(ros_arguments: Sequence[str], camera: bool = True, beside: Beside | None = None) -> None:
    """Run the nodes in this process until SIGINT; images then pass between threads, which is the fastest.

    Programs ``beside`` them run in processes of their own, so that they cannot hold up the nodes.
    """
    children = [_Child(name, command, is_needed=False) for name, command in (beside or {}).items()]
    with _supervised(children):
        spin([_NODES[name] for name in _chosen(camera)], ros_arguments)


def run_in_processes(ros_arguments: Sequence[str], camera: bool = True, beside: Beside | None = None) -> None:
    """Run each node in a process of its own until SIGINT, SIGTERM or SIGHUP, restarting what dies.

    The processes end with this one, even where it is killed. Raises ``ObjectPoseError`` when a node cannot start
    because of its configuration; a program ``beside`` them may fail.
    """
    beside = beside or {}
    prepare_process(len(_chosen(camera)) + len(beside))
    stop = threading.Event()

    def request_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, request_stop) for number in numbers}
    nodes = {f"{name} node": [f"object_pose.ros.nodes.{name}_node", *ros_arguments] for name in _chosen(camera)}
    children = [_Child(name, command) for name, command in nodes.items()]
    children += [_Child(name, command, is_needed=False) for name, command in beside.items()]
    try:
        _supervise(children, stop)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _supervised(children: Sequence[_Child]) -> Iterator[None]:
    """Keep processes running during the block, from a thread that outlives them."""
    stop = threading.Event()
    thread = threading.Thread(target=_supervise, args=(children, stop), name="supervision", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _supervise(children: Sequence[_Child], stop: threading.Event) -> None:
    """Keep processes running until told to stop, then end them."""
    try:
        while not stop.wait(_POLL_S):
            for child in children:
                child.supervise(time.monotonic())
    finally:
        for child in children:
            child.ask_to_end()
        for child in children:
            child.wait()


@dataclass
class _Child:
    """A process that runs a module, restarted with growing pauses; one that is not needed may fail for good."""

    name: str
    module_and_arguments: Sequence[str]
    is_needed: bool = True
    _process: subprocess.Popen[bytes] | None = None
    _started: float = 0.0
    _due: float = 0.0
    _back_off: float = field(default=_FIRST_BACK_OFF_S)

    def supervise(self, now: float) -> None:
        """Start the process when it is due, and see to it when it has ended."""
        if self._process is None:
            if now >= self._due:
                self._start(now)
        elif (code := self._process.poll()) is not None:
            self._ended(code, now)

    def ask_to_end(self) -> None:
        """Tell the process to end, if it runs."""
        # Not SIGINT: Python makes an exception of it, which an import in progress may swallow.
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait for its end, which is forced where asking does not help."""
        if self._process is None:
            return
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self, now: float) -> None:
        # A session of its own: Ctrl-C reaches the children through us, in order, and once.
        command = [sys.executable, "-m", *self.module_and_arguments]
        self._process = subprocess.Popen(command, start_new_session=True, preexec_fn=end_with_parent())
        self._started = now

    def _ended(self, code: int, now: float) -> None:
        self._process = None
        if code == _CONFIGURATION_ERROR:
            if self.is_needed:
                raise ObjectPoseError(f"the {self.name} cannot start", "its message is above")
            logger.error("the %s cannot start and is left out, its message is above", self.name)
            self._due = float("inf")
            return
        if now - self._started > _HEALTHY_AFTER_S:
            self._back_off = _FIRST_BACK_OFF_S
        logger.error("the %s ended with code %s, starting it again in %.1f s", self.name, code, self._back_off)
        self._due = now + self._back_off
        self._back_off = min(2.0 * self._back_off, _LONGEST_BACK_OFF_S)


def _chosen(camera: bool) -> list[str]:
    return [name for name in _NODES if camera or name != "camera"]
