"""The folder of a training run: its checkpoint, what was recorded on the way, and how it was started."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch

from object_pose import __version__
from object_pose.core.errors import ConfigError, DataError
from object_pose.io.files import replacing
from object_pose.training.config import TrainConfig

_CHECKPOINT = "last.pt"
_RECORDS = "metrics.jsonl"
_DESCRIPTION = "run.json"


class RunFolder:
    """Reads and writes one run; whatever is killed leaves the last good checkpoint and whole files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / _CHECKPOINT

    def check_free(self, resume: bool) -> None:
        """Raise ``ConfigError`` where the folder holds a run that shall not be gone on with."""
        if self.checkpoint.exists() and not resume:
            raise ConfigError(f"{self.path} holds a run already", "go on with --resume or name another folder")

    def load(self, device: torch.device) -> dict[str, Any]:
        """Return the checkpoint; raises ``DataError`` where there is none or it is damaged."""
        if not self.checkpoint.exists():
            raise DataError(f"{self.checkpoint} is missing", "train first, or name another run folder")
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location=device, weights_only=True)
        except Exception as error:  # a damaged file raises whatever its damage leads to
            raise DataError(f"{self.checkpoint} cannot be read: {_first_line(error)}", "train again") from error
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint beside the last one, then over it, so that a kill or a full disk never costs both.

        Raises ``DataError`` where it cannot be written.
        """
        temporary = self.path / f"{_CHECKPOINT}.tmp"
        try:
            torch.save(state, temporary)
            os.replace(temporary, self.checkpoint)
        except (OSError, RuntimeError) as error:  # torch says of a full disk that its writer failed
            temporary.unlink(missing_ok=True)
            kept = "the last good one is kept; " if self.checkpoint.exists() else ""
            raise DataError(
                f"{self.checkpoint} cannot be written: {_first_line(error)}",
                f"is the disk full? {kept}make room and go on with --resume",
            ) from error

    def start(self, step: int, command: str, config: TrainConfig) -> None:
        """Note the command, options and versions of a run that starts at ``step``, and forget records after it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._forget_after(step)
        starts = self._starts() if step else []
        description = {
            "command": command,
            "config": dataclasses.asdict(config),
            "versions": _versions(),
            "starts": [*starts, {"step": step, "command": command}],
        }
        with replacing(self.path / _DESCRIPTION) as temporary:
            temporary.write_text(json.dumps(description, indent=2))

    def record(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """Add a line to the run's records."""
        line = {"time": round(time.time(), 1), "step": step, "split": split, **figures}
        with (self.path / _RECORDS).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _starts(self) -> list[Any]:
        path = self.path / _DESCRIPTION
        return list(json.loads(path.read_text()).get("starts", [])) if path.exists() else []

    def _forget_after(self, step: int) -> None:
        """Drop what a killed run recorded after its checkpoint, and the half line it may have left."""
        path = self.path / _RECORDS
        if not path.exists():
            return
        whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
        lines = [line for line in whole if json.loads(line)["step"] <= step]
        with replacing(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))


def _versions() -> dict[str, str]:
    modules = {"torch": torch, "numpy": np, "opencv": cv2, "onnx": onnx}
    own = {"object_pose": __version__, "python": sys.version.split()[0]}
    return own | {name: module.__version__ for name, module in modules.items()}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
