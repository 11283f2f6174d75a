"""The files of a job: what it was asked, its log and progress, its outcome, and what it made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from object_pose.web.folders import file_inside

_MOST_LISTED = 1000


@dataclass(frozen=True)
class JobFolder:
    """The folder of one job; ``output`` is what it made, and all that is shown of it beside the log."""

    path: Path

    @property
    def request(self) -> Path:
        """Kind and inputs, for the worker."""
        return self.path / "job.json"

    @property
    def log(self) -> Path:
        """What the worker printed."""
        return self.path / "log.txt"

    @property
    def progress(self) -> Path:
        """A line of JSON a report."""
        return self.path / "progress.jsonl"

    @property
    def outcome(self) -> Path:
        """State with result or error; written last."""
        return self.path / "outcome.json"

    @property
    def output(self) -> Path:
        """The folder that the workflow fills."""
        return self.path / "output"

    def files(self) -> list[str]:
        """Return what may be read of the output, by relative path; the first thousand where there is more."""
        found: list[str] = []
        for folder, folders, names in os.walk(self.output):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            place = Path(folder).relative_to(self.output)
            found += [(place / name).as_posix() for name in sorted(names) if not name.startswith(".")]
            if len(found) >= _MOST_LISTED:
                break
        return sorted(found[:_MOST_LISTED], key=lambda path: (path.count("/"), path))

    def file(self, path: str) -> Path | None:
        """Return a file of the output; None where there is none, or it lies elsewhere."""
        return file_inside(self.output, path)
