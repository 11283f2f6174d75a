"""What a running pipeline shows, and what it may be asked for: the port between ROS and the web."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from object_pose.core.arrays import Array
from object_pose.core.frame import CameraFrame
from object_pose.core.results.pose import PoseResults


@dataclass(frozen=True)
class LiveFrame:
    """A frame of the running pipeline with what was found in it, None where nobody answered it.

    ``frame`` decodes colour and depth when they are first asked for. ``T_base_camera`` (4, 4) is where the camera
    stood, None where that is not known; ``latency_ms`` is the age of the frame when its results came.
    """

    frame: CameraFrame
    frame_id: str
    results: PoseResults | None = None
    T_base_camera: Array | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class NodeState:
    """What a node last said about itself on /diagnostics: ``level`` is 'ok', 'warning' or 'error'."""

    level: str
    message: str
    values: Mapping[str, str]


class LiveSink(Protocol):
    """Takes what the pipeline shows, from any thread; nothing here waits."""

    @property
    def is_watched(self) -> bool:
        """Whether anybody wants frames now."""

    def publish(self, frame: LiveFrame) -> None:
        """Show a frame in place of the last one."""

    def report(self, node: str, state: NodeState) -> None:
        """Take what a node says about itself, once a second."""


class PipelineControl(Protocol):
    """What operators may ask of the pipeline; each waits, and raises ``ObjectPoseError`` where no answer comes."""

    def pause(self, paused: bool) -> bool:
        """Stop or start the camera; False where the camera is not ours to stop."""

    def step(self) -> None:
        """Let a paused camera take one frame."""

    def set_model(self, model: Path) -> Sequence[str]:
        """Switch the model; return its classes."""

    def start_recording(self, bag: Path) -> None:
        """Record the pipeline's topics into a new bag."""

    def stop_recording(self) -> None:
        """End the recording with a whole bag."""

    @property
    def recording(self) -> Path | None:
        """The bag that is being written."""
