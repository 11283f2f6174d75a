"""The files that options of jobs name: uploads, files of other jobs, recordings, data sets and models; nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from object_pose.core.errors import ConfigError
from object_pose.web.jobs.uploads import UploadStore

_HINT = "write 'upload:ID', 'job:ID/FILE', 'recording:NAME', 'dataset:NAME', or the name of a model"


@dataclass(frozen=True)
class InputFinder:
    """Finds what users name: ``job_file`` gives a file of a job's output, ``model`` a model by its name, or None."""

    uploads: UploadStore
    job_file: Callable[[str, str], Path | None]
    model: Callable[[str], Path | None]
    recordings: Path
    datasets: Path

    def __call__(self, name: str, suffixes: str) -> str:
        """Return the path of a named file or folder; raises ``ConfigError`` where there is none, or of another kind."""
        found = self._find(name)
        if found is None:
            raise ConfigError(f"there is no '{name[:200]}'", _HINT)
        allowed = suffixes.split(",")
        if suffixes != "*" and found.suffix.lower() not in allowed:
            raise ConfigError(f"'{name[:200]}' is {found.name}", f"give one of {', '.join(allowed)}")
        return str(found.resolve())

    def _find(self, name: str) -> Path | None:
        kind, separator, rest = name.partition(":")
        if not separator:
            return self.model(name)
        if kind == "upload":
            upload = self.uploads.find(rest)
            return upload.path if upload else None
        if kind == "job":
            job_id, _, path = rest.partition("/")
            return self.job_file(job_id, path)
        folders = {"recording": self.recordings, "dataset": self.datasets}
        return _child(folders[kind], rest) if kind in folders else None


def _child(folder: Path, name: str) -> Path | None:
    if name in ("", "..") or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
        return None
    path = folder / name
    return path if path.exists() and path.resolve().is_relative_to(folder.resolve()) else None
