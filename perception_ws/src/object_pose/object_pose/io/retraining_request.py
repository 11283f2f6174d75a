"""Requests to train a model anew: a folder with the frames that gave the reason, labelled by the poses tracked in them.

``scene`` is a BOP scene, so that every command reads it; ``request.json`` has the model, the reasons and what became of
the request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from object_pose.core.errors import DataError
from object_pose.io.bop_writing import LabelledFrame, write_labelled_scene
from object_pose.io.files import new_folder
from object_pose.io.writers import write_json

SCENE = "scene/000000"
_DESCRIPTION = "request.json"
OPEN, DONE = "open", "done"


@dataclass(frozen=True)
class RetrainingRequest:
    """A request on disk: the model file that was in use, the reasons in words, its state and the result, if any."""

    path: Path
    model: str
    reasons: tuple[str, ...]
    state: str
    frames: int
    result: Mapping[str, Any]

    @property
    def scene(self) -> Path:
        """The BOP scene of the frames."""
        return self.path / SCENE

    def closed(self, result: Mapping[str, Any]) -> RetrainingRequest:
        """Note what became of the request, and return it."""
        document = json.loads((self.path / _DESCRIPTION).read_text())
        write_json(self.path / _DESCRIPTION, document | {"state": DONE, "result": dict(result)})
        return read_request(self.path)


def write_request(
    folder: Path,
    model: str,
    labels: Sequence[str],
    reasons: Sequence[str],
    frames: Sequence[LabelledFrame],
    statistics: Mapping[str, float],
) -> RetrainingRequest:
    """Write a request below ``folder``, whole or not at all; its name is the time.

    ``labels`` are the model's classes, in its order.
    """
    path = folder / time.strftime("%Y%m%d-%H%M%S")
    with new_folder(path) as temporary:
        write_labelled_scene(temporary / SCENE, labels, frames)
        document = {"model": model, "reasons": list(reasons), "statistics": dict(statistics), "frames": len(frames)}
        write_json(temporary / _DESCRIPTION, document | {"state": OPEN, "created_s": int(time.time()), "result": {}})
    return read_request(path)


def read_request(path: Path) -> RetrainingRequest:
    """Read a request; raises ``DataError`` where the folder holds none."""
    try:
        document = json.loads((path / _DESCRIPTION).read_text())
        return RetrainingRequest(
            path,
            str(document["model"]),
            tuple(map(str, document["reasons"])),
            str(document["state"]),
            int(document["frames"]),
            dict(document["result"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no retraining request: {error}", "name a folder that the monitor wrote") from error


def open_requests(folder: Path) -> list[RetrainingRequest]:
    """Return a request, or those of a folder that are still open, the oldest first."""
    if (folder / _DESCRIPTION).exists():
        return [read_request(folder)]
    found = [read_request(item.parent) for item in sorted(folder.glob(f"*/{_DESCRIPTION}"))]
    return [item for item in found if item.state == OPEN]
