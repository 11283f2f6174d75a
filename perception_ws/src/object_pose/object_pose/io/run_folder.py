"""The folder of a training run: what was trained, how it was started, how far it is and what it recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from object_pose.core.errors import ConfigError, DataError
from object_pose.io.files import replacing
from object_pose.io.writers import write_json

_CHECKPOINT = "last.pt"
RUN_SETTINGS, _DESCRIPTION, _RECORDS = "task.json", "run.json", "metrics.jsonl"
_RECORD_KEYS = ("time", "step", "split")


@dataclass(frozen=True)
class RunSettings:
    """What a run trains: the task's name, its option dataclasses by class name, the seed and the command."""

    task: str
    configs: Mapping[str, Mapping[str, Any]]
    seed: int
    command: str


@dataclass(frozen=True)
class RunDescription:
    """How a run was started: the last command, the training options, the versions of what trained it.

    ``starts`` are the steps at which it was started or resumed, ``steps_done`` those that its checkpoint holds.
    """

    command: str
    training: Mapping[str, Any]
    versions: Mapping[str, str]
    starts: tuple[int, ...]
    steps_done: int


class RunFolder:
    """Reads and writes one run; a process that is killed leaves the last checkpoint and whole files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / _CHECKPOINT

    def check_free(self, resume: bool) -> None:
        """Raise ``ConfigError`` where the folder holds a run that is not to be resumed."""
        if self.checkpoint.exists() and not resume:
            raise ConfigError(f"{self.path} holds a run already", "go on with --resume or name another folder")

    def write_settings(self, settings: RunSettings) -> None:
        """Keep what is trained, for the export and the reports."""
        configs = {name: dict(values) for name, values in settings.configs.items()}
        document = {"task": settings.task, "seed": settings.seed, "command": settings.command, "configs": configs}
        write_json(self.path / RUN_SETTINGS, document)

    def settings(self) -> RunSettings:
        """Return what is trained; raises ``DataError`` where the folder is no training run."""
        path = self.path / RUN_SETTINGS
        if not path.exists():
            raise DataError(
                f"{self.path} is no training run: {RUN_SETTINGS} is missing", "name the --output of 'object-pose train'"
            )
        document = json.loads(path.read_text())
        return RunSettings(document["task"], document["configs"], document["seed"], document["command"])

    def start(self, step: int, command: str, training: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        """Note the command, options and versions of a run that starts at ``step``, and drop the records after it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._drop_records_after(step)
        starts = self._document().get("starts", []) if step else []
        document = {"command": command, "config": dict(training), "versions": dict(versions), "steps_done": step}
        document["seconds_done"] = self.seconds_done if step else 0.0
        write_json(self.path / _DESCRIPTION, document | {"starts": [*starts, {"step": step, "command": command}]})

    def note_steps(self, step: int, seconds: float) -> None:
        """Note how many steps the checkpoint holds, and how long they took, once it is written."""
        write_json(self.path / _DESCRIPTION, self._document() | {"steps_done": step, "seconds_done": round(seconds, 1)})

    def description(self) -> RunDescription:
        """Return how the run was started; raises ``DataError`` where it was not."""
        document = self._document()
        if not document:
            raise DataError(f"{self.path / _DESCRIPTION} is missing", "name the --output of 'object-pose train'")
        starts = tuple(int(start["step"]) for start in document["starts"])
        return RunDescription(
            document["command"], document["config"], document["versions"], starts, document.get("steps_done", 0)
        )

    @property
    def steps_done(self) -> int:
        """The steps that the checkpoint holds, 0 without one."""
        return int(self._document().get("steps_done", 0)) if self.checkpoint.exists() else 0

    @property
    def seconds_done(self) -> float:
        """How long those steps took, over all starts, with what was prepared and validated."""
        return float(self._document().get("seconds_done", 0.0)) if self.checkpoint.exists() else 0.0

    def record(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """Add a line of figures of 'train' or 'validation' to the run's records."""
        line = dict(zip(_RECORD_KEYS, (round(time.time(), 1), step, split))) | dict(figures)
        with (self.path / _RECORDS).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """Return the recorded lines: time (seconds since 1970), step, split and figures.

        Raises ``DataError`` where there are none.
        """
        path = self.path / _RECORDS
        lines = self._whole_lines()
        if not lines:
            raise DataError(f"{path} has no records", "name the --output of 'object-pose train', or train for longer")
        return [json.loads(line) for line in lines]

    def _document(self) -> dict[str, Any]:
        path = self.path / _DESCRIPTION
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _whole_lines(self) -> list[str]:
        """Return the lines of the records but the half one that a killed run may have left."""
        path = self.path / _RECORDS
        return [line for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []

    def _drop_records_after(self, step: int) -> None:
        lines = [line for line in self._whole_lines() if json.loads(line)["step"] <= step]
        if (self.path / _RECORDS).exists():
            with replacing(self.path / _RECORDS) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines))
