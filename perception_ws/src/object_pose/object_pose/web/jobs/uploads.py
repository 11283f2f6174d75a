"""Files that were uploaded for jobs: kept under random ids, zips unpacked, all within limits."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from object_pose.core.errors import DataError
from object_pose.io.files import new_folder

_ID = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"[^A-Za-z0-9._ -]")
_CHUNK = 1 << 20
_MOST_FILES = 20_000
_MOST_UNPACKED = 8 << 30
_DESCRIPTION, _CONTENT = "upload.json", "content"


@dataclass(frozen=True)
class Upload:
    """An uploaded file, or the folder of what an uploaded zip held."""

    id: str
    name: str
    bytes: int
    path: Path


class UploadStore:
    """Uploads in a folder, at most ``most_bytes`` of them; the folder of each appears whole."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most_bytes = folder, most_bytes

    def add(self, name: str, content: BinaryIO) -> Upload:
        """Keep a file under its name, without what could lead elsewhere; unpack a zip.

        Raises ``DataError`` where it is empty, no place is left, or a zip is damaged, too large or leads elsewhere.
        """
        name = safe_name(name)
        upload_id = secrets.token_hex(8)
        with new_folder(self._folder / upload_id) as folder:
            place = folder / _CONTENT
            place.mkdir()
            size = self._copy(content, place / name)
            if name.lower().endswith(".zip"):
                _unpack(place / name, place / name[: -len(".zip")], self._left())
                (place / name).unlink()
                name = name[: -len(".zip")]
            (folder / _DESCRIPTION).write_text(json.dumps({"name": name, "bytes": size}) + "\n")
        return Upload(upload_id, name, size, self._folder / upload_id / _CONTENT / name)

    def find(self, upload_id: str) -> Upload | None:
        """Return an upload, None where there is none."""
        folder = self._folder / upload_id
        if not _ID.fullmatch(upload_id) or not (folder / _DESCRIPTION).is_file():
            return None
        values = json.loads((folder / _DESCRIPTION).read_text())
        return Upload(upload_id, values["name"], values["bytes"], folder / _CONTENT / values["name"])

    def remove(self, upload_id: str) -> bool:
        """Delete an upload; return whether there was one."""
        found = self.find(upload_id)
        if found:
            shutil.rmtree(self._folder / upload_id)
        return found is not None

    def _left(self) -> int:
        used = sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())
        return min(self._most_bytes - used, _MOST_UNPACKED)

    def _copy(self, content: BinaryIO, target: Path) -> int:
        left, size = self._left(), 0
        with target.open("wb") as file:
            while chunk := content.read(_CHUNK):
                size += len(chunk)
                if size > left:
                    raise DataError("there is no place for more uploads", "delete some, or raise max_uploads_mb")
                file.write(chunk)
        if not size:
            raise DataError(f"{target.name} is empty")
        return size


def safe_name(name: str) -> str:
    """Return the last part of a file name without characters that mean something elsewhere."""
    last = _NAME.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip(" .")
    return (last or "file")[-100:].lstrip(" .-") or "file"


def _unpack(archive: Path, folder: Path, most_bytes: int) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            if len(entries) > _MOST_FILES or sum(entry.file_size for entry in entries) > most_bytes:
                raise DataError(f"{archive.name} holds more than is unpacked", "send smaller parts")
            left = most_bytes
            for entry in entries:
                target = folder / _inside(entry)
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, target.open("wb") as file:
                    while chunk := source.read(_CHUNK):
                        left -= len(chunk)  # what entries say of their sizes may be wrong
                        if left < 0:
                            raise DataError(f"{archive.name} holds more than is unpacked", "send smaller parts")
                        file.write(chunk)
            folder.mkdir(exist_ok=True)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise DataError(f"{archive.name} cannot be unpacked: {error}") from error


def _inside(entry: zipfile.ZipInfo) -> PurePosixPath:
    """Return where an entry goes; raises ``DataError`` for a link, and for a path that leads elsewhere."""
    path = PurePosixPath(entry.filename)
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(f"{entry.filename} is a link", "pack the file itself")
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or not path.parts:
        raise DataError(f"{entry.filename[:200]} leads out of the archive")
    return path
