"""Calibration sessions over HTTP: images of a board, taken from the live view or sent, with guidance after each."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.calibration.boards import parse_board
from object_pose.calibration.hand_eye import HandEyeConfig
from object_pose.core.arrays import Array, Image
from object_pose.core.errors import CalibrationError, ConfigError
from object_pose.core.geometry.se3 import make_transform, rotation_from_quat_wxyz
from object_pose.web.errors import HttpError
from object_pose.workflows.calibrate_hand_eye import HandEyeJob
from object_pose.workflows.calibrate_intrinsics import IntrinsicsJob
from object_pose.workflows.calibration_session import CalibrationSession, capture_to_json

INTRINSICS, HAND_EYE = "intrinsics", "hand-eye"
_MOST_SESSIONS = 16
_UNIT_TOLERANCE = 0.1


@dataclass
class OpenSession:
    """A session and what it was begun with; one request at a time works on it."""

    id: str
    kind: str
    board: str
    name: str
    mounting: str
    session: CalibrationSession
    lock: threading.Lock = field(default_factory=threading.Lock)
    looked_at: Image | None = None

    def take(self, rgb: Image, T_base_gripper: Array | None, keep: bool) -> Mapping[str, Any]:
        """Look for the board in an image, and keep it where that is wanted and it is seen."""
        with self.lock:
            self.looked_at = rgb
            taken = self.session.add(rgb, T_base_gripper) if keep else self.session.look(rgb, T_base_gripper)
            return capture_to_json(taken, self.session.job)

    def drop(self, name: str) -> None:
        """Remove a kept image."""
        with self.lock:
            self.session.drop(name)

    def inputs(self) -> tuple[str, dict[str, Any]]:
        """Return kind and inputs of the job that calibrates; raises ``HttpError`` 409 where there is no image."""
        with self.lock:
            if not self.session.names:
                raise HttpError(409, "no image was kept: show the board first")
            shared = {"board": self.board, "name": self.name}
            folder = str(self.session.folder.resolve())
            if self.kind == INTRINSICS:
                return "calibrate-intrinsics", {"images": [folder], **shared}
            return "calibrate-hand-eye", {"samples": folder, "mounting": self.mounting, **shared}


class CalibrationSessions:
    """Open sessions by id, the most recent ones; their images stay in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sessions: OrderedDict[str, OpenSession] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, kind: str, board: str, name: str, mounting: str) -> OpenSession:
        """Begin a session; raises ``ConfigError`` for a board that is none."""
        session_id = secrets.token_hex(6)
        folder = self._folder / session_id
        job: IntrinsicsJob | HandEyeJob = IntrinsicsJob(folder / "images", parse_board(board), name, folder / "results")
        if kind == HAND_EYE:
            config = HandEyeConfig(mounting=mounting)
            job = HandEyeJob(folder / "images", parse_board(board), name=name, output=folder / "results", config=config)
        opened = OpenSession(session_id, kind, board, name, mounting, CalibrationSession(job))
        with self._lock:
            self._sessions[session_id] = opened
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return opened

    def find(self, session_id: str) -> OpenSession:
        """Return a session; raises ``HttpError`` 404 where there is none."""
        with self._lock:
            if session_id not in self._sessions:
                raise HttpError(404, f"there is no calibration session '{session_id[:64]}': begin one")
            self._sessions.move_to_end(session_id)
            return self._sessions[session_id]

    def close(self, session_id: str) -> None:
        """Forget a session; its images stay."""
        self.find(session_id)
        with self._lock:
            self._sessions.pop(session_id, None)


def parse_robot_pose(text: str) -> Array | None:
    """Return the transform (4, 4) of 'x y z qx qy qz qw', metres and a quaternion; None of an empty text.

    Raises ``ConfigError`` for anything else.
    """
    words = text.replace(",", " ").split()
    if not words:
        return None
    try:
        x, y, z, qx, qy, qz, qw = (float(word) for word in words)
    except ValueError as error:
        raise ConfigError("the robot's pose cannot be read", "write x y z qx qy qz qw") from error
    quaternion = np.array([qw, qx, qy, qz])
    if not np.all(np.isfinite([x, y, z, *quaternion])) or abs(np.linalg.norm(quaternion) - 1.0) > _UNIT_TOLERANCE:
        raise CalibrationError("the robot's pose has no unit quaternion", "write x y z qx qy qz qw")
    return make_transform(rotation_from_quat_wxyz(quaternion), (x, y, z))
