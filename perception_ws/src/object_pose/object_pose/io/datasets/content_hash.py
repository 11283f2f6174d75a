"""Data sets known by their content: digests as DVC computes them, and the ``.dvc`` files that DVC reads.

A file's digest is the MD5 of its bytes. A folder's is the MD5 of the JSON list of its files, sorted by path, with
``.dir`` behind it. See ``docs/decisions/0022-data-versions.md``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from object_pose.core.errors import DataError
from object_pose.io.files import replacing

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class DataVersion:
    """The content of a file or folder: DVC's digest, bytes in all, and how many files (1 for a file)."""

    digest: str
    size_bytes: int
    files: int


def data_version(path: Path) -> DataVersion:
    """Return the version of a file or folder; hidden files count, links are followed.

    Raises ``DataError`` where it does not exist or holds nothing.
    """
    if path.is_file():
        return DataVersion(_md5(path), path.stat().st_size, 1)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    files = sorted(
        (item for item in path.rglob("*") if item.is_file()), key=lambda item: item.relative_to(path).as_posix()
    )
    if not files:
        raise DataError(f"{path} holds no files")
    listing = [{"md5": _md5(item), "relpath": item.relative_to(path).as_posix()} for item in files]
    digest = hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return DataVersion(f"{digest}.dir", sum(item.stat().st_size for item in files), len(files))


def write_dvc_file(path: Path, version: DataVersion | None = None) -> Path:
    """Write ``PATH.dvc`` beside a file or folder, as ``dvc add`` would, and return it."""
    version = version or data_version(path)
    entry = {"md5": version.digest, "size": version.size_bytes, "hash": "md5", "path": path.name}
    if path.is_dir():
        entry["nfiles"] = version.files
    target = path.with_name(f"{path.name}.dvc")
    with replacing(target) as temporary:
        temporary.write_text(yaml.safe_dump({"outs": [entry]}, sort_keys=False))
    return target


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
