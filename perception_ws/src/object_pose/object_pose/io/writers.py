"""Result files: frames as JSON lines, JSON, and the CSV of BOP's evaluation. Each appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypedDict

from object_pose.core.errors import DataError
from object_pose.core.results.pose import ObjectPose
from object_pose.core.results.schema import Result, json_schema
from object_pose.io.files import replacing
from object_pose.tasks.registry import find_task

_BOP_HEADER = "scene_id,im_id,obj_id,score,R,t,time"
_MM_PER_M = 1e3


class _FrameHeadJson(TypedDict):
    name: str
    stamp_ns: int


class _FrameJson(_FrameHeadJson, total=False):
    timings_ms: dict[str, float]


@dataclass(frozen=True)
class FrameRecord:
    """One frame's line in a result file: its results, such as detections and the poses from them, in one object."""

    name: str
    stamp_ns: int
    results: tuple[Result, ...]
    timings_ms: Mapping[str, float] | None = None

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the record as JSON values; ``labels`` names the class ids."""
        record: dict[str, Any] = {"name": self.name, "stamp_ns": self.stamp_ns}
        for result in self.results:
            record |= result.to_json(labels)
        if self.timings_ms is not None:
            record["timings_ms"] = {stage: round(value, 3) for stage, value in self.timings_ms.items()}
        return record


def frame_schema(task: str) -> dict[str, Any]:
    """Return the JSON schema of a task's frame records; raises ``ConfigError`` for an unknown task."""
    frame, result = json_schema(_FrameJson), find_task(task).schema
    return {
        **frame,
        "properties": frame["properties"] | result["properties"],
        "required": frame["required"] + result["required"],
    }


def write_json(path: str | Path, value: Any) -> None:
    """Write one JSON document; raises ``DataError`` for numbers that JSON does not have."""
    with replacing(path) as temporary:
        temporary.write_text(_dump(value, indent=2) + "\n")


class JsonLinesWriter:
    """Writes one JSON object a line; see ``json_lines``."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a record."""
        self._file.write(_dump(record) + "\n")


class BopCsvWriter:
    """Writes rows ``scene_id,im_id,obj_id,score,R,t,time`` with t in millimetres; see ``bop_csv``."""

    def __init__(self, file: TextIO, object_ids: Mapping[str, int]) -> None:
        self._file = file
        self._object_ids = object_ids
        self._file.write(_BOP_HEADER + "\n")

    def write(self, scene_id: int, image_id: int, poses: Iterable[ObjectPose], seconds: float = -1.0) -> None:
        """Add the poses of an image, which took ``seconds`` in all; -1 stands for not measured."""
        for pose in poses:
            if pose.class_name not in self._object_ids:
                raise DataError(f"class '{pose.class_name}' has no BOP object id")
            rotation = " ".join(f"{value:.8f}" for value in pose.T_camera_object[:3, :3].ravel())
            translation = " ".join(f"{value * _MM_PER_M:.6f}" for value in pose.T_camera_object[:3, 3])
            object_id = self._object_ids[pose.class_name]
            row = f"{scene_id},{image_id},{object_id},{pose.score:.6f},{rotation},{translation},{seconds:.6f}"
            self._file.write(row + "\n")


@contextmanager
def json_lines(path: str | Path) -> Iterator[JsonLinesWriter]:
    """Open a JSON-lines file, which appears when the block ends well."""
    with replacing(path) as temporary, temporary.open("w") as file:
        yield JsonLinesWriter(file)


@contextmanager
def bop_csv(path: str | Path, object_ids: Mapping[str, int]) -> Iterator[BopCsvWriter]:
    """Open a BOP result file for classes with these object ids; it appears when the block ends well."""
    with replacing(path) as temporary, temporary.open("w") as file:
        yield BopCsvWriter(file, object_ids)


def _dump(value: Any, indent: int | None = None) -> str:
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError as error:
        raise DataError("a result has a number that is not finite, which JSON cannot hold") from error
