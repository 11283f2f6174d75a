"""Opens the files of a recording: MCAP, SQLite and ROS 1, packed or not, in a folder or alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from object_pose.core.errors import DataError
from object_pose.io.bag_storage.mcap import McapStorage
from object_pose.io.bag_storage.packing import is_zstd, unzstd_file
from object_pose.io.bag_storage.ros1 import open_ros1
from object_pose.io.bag_storage.sqlite import SqliteStorage
from object_pose.io.bag_storage.storage import Channel, RawMessage, Storage
from object_pose.io.files import parse_yaml, read_text

_MAKERS: dict[str, Callable[[Path], Storage]] = {
    ".mcap": McapStorage,
    ".db3": SqliteStorage,
    ".bag": open_ros1,
    ".active": open_ros1,  # x.bag.active is being recorded, or was when the recorder was killed
}
SUFFIXES = tuple(_MAKERS)
_PACKED = ".zstd"
_METADATA = "metadata.yaml"


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: an mcap, db3 or ROS 1 file, or a folder with one or ``metadata.yaml``."""
    if path.is_dir():
        return (path / _METADATA).is_file() or bool(_files_of(path))
    return path.is_file() and _is_storage(path)


def open_storages(path: Path) -> list[Storage]:
    """Open a recording's files in the order of their times; raises ``DataError`` where there are none.

    Others' errors pass.
    """
    if not path.exists():
        raise DataError(f"bag {path} does not exist")
    if not path.is_dir():
        return [_open_file(path)]
    files = _files_of(path)
    named = [_unpacked_name(Path(str(name)).name) for name in _read_metadata(path).get("relative_file_paths") or ()]
    missing = [name for name in named if name not in files]
    if not files or missing:
        lacks = f"lacks {', '.join(missing)}" if missing else f"holds no {' or '.join(SUFFIXES)} file"
        raise DataError(f"bag {path} {lacks}")
    return sorted((_open_file(files[name]) for name in sorted(files)), key=lambda storage: storage.start_ns)


def _files_of(folder: Path) -> dict[str, Path]:
    """Return a folder's files by their unpacked name; what rosbag2 unpacked lies beside the packed file."""
    found = [file for file in folder.iterdir() if _is_storage(file) and not file.name.startswith(".")]
    return {_unpacked_name(file.name): file for file in sorted(found, key=lambda file: file.suffix != _PACKED)}


def _is_storage(path: Path) -> bool:
    return Path(_unpacked_name(path.name)).suffix.lower() in SUFFIXES


def _unpacked_name(name: str) -> str:
    return name.removesuffix(_PACKED)


def _read_metadata(folder: Path) -> dict[str, Any]:
    """Return what ``metadata.yaml`` says; nothing where it is missing or broken, for the files say it themselves."""
    try:
        found = parse_yaml(read_text(folder / _METADATA))["rosbag2_bagfile_information"]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}


def _open_file(path: Path) -> Storage:
    if not _is_storage(path):
        hint = f"expected a folder, or a file with the suffix {', '.join(SUFFIXES)}"
        raise DataError(f"{path} is no recording", hint)
    with path.open("rb") as file:
        is_packed = is_zstd(file.read(4))
    if not is_packed:
        return _MAKERS[Path(_unpacked_name(path.name)).suffix.lower()](path)
    with ExitStack() as stack:
        unpacked = Path(stack.enter_context(tempfile.TemporaryDirectory())) / _unpacked_name(path.name)
        unzstd_file(path, unpacked)
        return _Unpacked(_MAKERS[unpacked.suffix.lower()](unpacked), stack.pop_all())


class _Unpacked:
    """A file that rosbag2 compressed as a whole, unpacked until it is closed."""

    def __init__(self, storage: Storage, unpacked: ExitStack) -> None:
        self._storage, self._unpacked = storage, unpacked
        self.start_ns, self.end_ns, self.damage = storage.start_ns, storage.end_ns, storage.damage
        self.channels = storage.channels

    def messages(self, channels: Collection[Channel]) -> Iterator[RawMessage]:
        """See ``Storage``."""
        return self._storage.messages(channels)

    def close(self) -> None:
        """See ``Storage``."""
        self._storage.close()
        self._unpacked.close()
