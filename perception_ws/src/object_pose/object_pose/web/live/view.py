"""The live view as routes use it: hub, streams, and what operators may do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from object_pose.core.errors import ConfigError
from object_pose.runtime.live import PipelineControl
from object_pose.web.errors import HttpError
from object_pose.web.live.hub import LiveHub, ShownFrame, StreamConfig
from object_pose.web.live.streams import LiveStreams

_FIRST_FRAME_WITHIN_S = 3.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass
class LiveView:
    """A running pipeline: what it shows, and what may be asked of it; bags go into the folder ``recordings``."""

    hub: LiveHub
    control: PipelineControl
    recordings: Path
    config: StreamConfig = StreamConfig()
    streams: LiveStreams = field(init=False)

    def __post_init__(self) -> None:
        self.streams = LiveStreams(self.hub, self.config)

    def close(self) -> None:
        """End streams and a recording."""
        self.streams.close()
        if self.control.recording:
            self.control.stop_recording()

    async def frame(self) -> ShownFrame:
        """Return the frame that is shown; raises ``HttpError`` 503 where none comes."""
        is_fresh = self.hub.is_watched or self.hub.is_frozen
        self.hub.want()
        shown = self.hub.newest()
        if shown is None or not is_fresh:
            # What was shown when somebody last watched is old.
            shown = await self.hub.newer_than(shown.sequence if shown else 0, _FIRST_FRAME_WITHIN_S) or shown
        if shown is None:
            raise HttpError(503, "no frame has come: is the camera running?", "no_frame", {"Retry-After": "2"})
        return shown

    def pause(self) -> None:
        """Keep the frame that is shown, and stop the camera where it is ours."""
        self.control.pause(True)
        self.hub.freeze()

    def resume(self) -> None:
        """Go on."""
        self.control.pause(False)
        self.hub.thaw()

    def step(self) -> None:
        """Show one frame more; raises ``HttpError`` 409 where nothing is paused."""
        if not self.hub.is_frozen:
            raise HttpError(409, "the live view is not paused: pause it first")
        self.hub.admit_one()
        self.control.step()

    def record(self, name: str) -> Path:
        """Begin a recording; raises where one runs or the name is taken."""
        if self.control.recording:
            raise HttpError(409, f"{self.control.recording.name} is being recorded: stop it first")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"'{name}' is no name of a recording", "use letters, digits, '_', '-' and '.'")
        bag = self.recordings / name
        if bag.exists():
            raise HttpError(409, f"there is a recording '{name}' already: choose another name")
        self.control.start_recording(bag)
        return bag

    def stop_recording(self) -> Path:
        """End the recording; return its bag."""
        bag = self.control.recording
        if bag is None:
            raise HttpError(409, "nothing is being recorded")
        self.control.stop_recording()
        return bag

    def set_model(self, model: Path) -> Sequence[str]:
        """Switch the pipeline's model; return its classes."""
        return self.control.set_model(model)
