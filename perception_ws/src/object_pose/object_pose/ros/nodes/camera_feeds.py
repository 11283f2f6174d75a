"""What the camera node plays: the simulated camera, or recorded frames over and over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry.camera import Camera
from object_pose.core.results.pose import ObjectTruth
from object_pose.io.bag_frames import RecordingConfig
from object_pose.io.camera_info import read_depth_camera
from object_pose.io.cameras.recorded import NamedFrame, open_frames
from object_pose.simulation.parts.objects import load_objects
from object_pose.simulation.scenes.live import LiveConfig, LiveScene

_PRERENDERED_HZ = 30.0


@dataclass(frozen=True)
class View:
    """What a camera sees: a frame, and where they are known the true objects and its own pose (4, 4) in the world."""

    frame: Frame
    truths: tuple[ObjectTruth, ...] = ()
    T_world_camera: NDArray[np.float64] | None = None


class CameraFeed(Protocol):
    """Gives what a camera sees now; one that ``is_live`` waits for its next frame, whose stamp is of the system."""

    is_live: bool

    def view(self, time_s: float) -> View | None:
        """Return the frame ``time_s`` after the start; None at the end."""
        ...


class Device(Protocol):
    """A camera that is plugged in."""

    def read(self) -> Frame:
        """Wait for the next frame."""
        ...

    def close(self) -> None:
        """Stop."""


class SimulatedFeed:
    """The simulated camera over a bench with objects: 'parts', or a folder of BOP models.

    Rendering takes as long as all the rest of the pipeline. So ``prerendered_s`` of the scene are rendered at the start
    and played to and fro without end, 1.5 MB a frame at 640x480; with 0 each frame is rendered when it is due.
    """

    is_live = False

    def __init__(self, seed: int, objects: str, config: LiveConfig, prerendered_s: float = 0.0) -> None:
        self._scene = LiveScene(seed, config, objects=load_objects(objects))
        # Also compiles the renderer; a camera that is on does not stall.
        count = max(round(prerendered_s * _PRERENDERED_HZ), 1)
        # The motion comes to rest at both ends, so that it is smooth where it turns back.
        phases = 0.5 * (1.0 - np.cos(np.pi * np.arange(count) / max(count - 1, 1)))
        self._frames = [_StoredView.of(self._render(time_s)) for time_s in prerendered_s * phases]

    def view(self, time_s: float) -> View:
        """See ``CameraFeed``; it never ends."""
        last = len(self._frames) - 1
        if last < 1:
            return self._render(time_s)
        step = round(time_s * _PRERENDERED_HZ) % (2 * last)
        return self._frames[min(step, 2 * last - step)].restored()

    def _render(self, time_s: float) -> View:
        simulated = self._scene.frame(time_s, round(time_s * 1e9))
        return View(simulated.frame, simulated.truths, self._scene.T_world_camera(time_s))


@dataclass(frozen=True)
class _StoredView:
    """A view whose depth is kept as the sensor gives it, in whole millimetres."""

    view: View
    depth_mm: NDArray[np.uint16]

    @staticmethod
    def of(view: View) -> _StoredView:
        assert view.frame.depth_m is not None
        depth_mm = np.rint(view.frame.depth_m * np.float32(1e3)).astype(np.uint16)
        return _StoredView(replace(view, frame=replace(view.frame, depth_m=None)), depth_mm)

    def restored(self) -> View:
        depth_m = self.depth_mm * np.float32(1e-3)
        return replace(self.view, frame=replace(self.view.frame, depth_m=depth_m))


class RecordedFeed:
    """Frames of a file, folder, video, BOP scene or bag, one a call, once or in a loop.

    Raises ``DataError`` at once where there is nothing to play.
    """

    is_live = False

    def __init__(self, source: str, depth: str, intrinsics: str, loop: bool, config: RecordingConfig) -> None:
        self._source, self._depth, self._loop, self._config = Path(source), depth or None, loop, config
        self._camera: Camera | None = None
        self._depth_scale: float | None = None
        if intrinsics:
            self._camera, self._depth_scale = read_depth_camera(intrinsics, config.rectified)
        frames = self._open()
        first = next(frames, None)
        if first is None:
            raise DataError(f"{source} has no frames")
        self._frames = chain([first], frames)

    def view(self, time_s: float) -> View | None:
        """See ``CameraFeed``; the frames come in their order, whatever the time."""
        named = next(self._frames, None)
        if named is None and self._loop:
            self._frames = chain(self._open())
            named = next(self._frames, None)
        return None if named is None else View(named.frame)

    def _open(self) -> Iterator[NamedFrame]:
        return open_frames(self._source, self._depth, self._camera, self._config, self._depth_scale)


class DeviceFeed:
    """A camera that is plugged in; ``read`` waits for its next frame and raises ``DataError`` where it is gone."""

    is_live = True

    def __init__(self, camera: Device) -> None:
        self._camera = camera

    def view(self, time_s: float) -> View:
        """See ``CameraFeed``; it never ends."""
        return View(self._camera.read())

    def close(self) -> None:
        """Stop the camera."""
        self._camera.close()
