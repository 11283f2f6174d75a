"""Result files: JSON, JSON lines, and the CSV that BOP's evaluation reads. Each appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from object_pose.core.errors import DataError
from object_pose.core.results.pose import ObjectPose
from object_pose.io.files import replacing

_BOP_HEADER = "scene_id,im_id,obj_id,score,R,t,time"
_MM_PER_M = 1e3


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
