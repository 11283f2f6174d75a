"""Packed bytes unpacked within bounds: a few of them can stand for gigabytes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from object_pose.core.errors import DataError

MOST_BYTES = 256 << 20  # of a chunk or a message
_MAGIC = b"\x28\xb5\x2f\xfd"
# A file may be this much larger than its packed form, or one gigabyte.
_MOST_TIMES, _MOST_FILE_BYTES = 200, 1 << 30
_LEFT_FREE_BYTES = 256 << 20
_PIECE = 1 << 20


def is_zstd(start: bytes) -> bool:
    """Whether some bytes begin as zstd does."""
    return start[: len(_MAGIC)] == _MAGIC


def unzstd(data: bytes | memoryview, most_bytes: int = MOST_BYTES, is_cut: bool = False) -> bytes:
    """Return what is packed; where it ``is_cut``, as far as it is there.

    Raises ``DataError`` where it is damaged, or more than ``most_bytes``.
    """
    zstd = _zstd()
    unpacking = zstd.ZstdDecompressor()
    try:
        unpacked: bytes = unpacking.decompress(data, max_length=most_bytes + 1)
    except zstd.ZstdError as error:
        raise DataError(f"it has damaged zstd data: {error}") from error
    if len(unpacked) > most_bytes:
        raise DataError(f"it has more than the {most_bytes} bytes that are read packed in {len(data)}")
    if not (unpacking.eof or is_cut):
        raise DataError("it has zstd data that are cut")
    return unpacked


def unlz4(data: bytes | memoryview, most_bytes: int = MOST_BYTES) -> bytes:
    """Return what is packed, as far as it is there, and at most one byte more than ``most_bytes``."""
    import lz4.frame

    unpacked: bytes = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=most_bytes + 1)
    return unpacked


def unzstd_file(packed: Path, target: Path) -> None:
    """Unpack a file piece by piece.

    Raises ``DataError`` where it is damaged, would not leave enough of the disk free, or is beyond measure larger than
    its packed form.
    """
    most_bytes = max(_MOST_TIMES * packed.stat().st_size, _MOST_FILE_BYTES)
    room = shutil.disk_usage(target.parent).free - _LEFT_FREE_BYTES
    zstd = _zstd()
    written = 0
    with zstd.open(packed, "rb") as source, target.open("wb") as file:
        try:
            while piece := source.read(_PIECE):
                written += len(piece)
                if written > most_bytes:
                    raise DataError(f"{packed.name} unpacks to more than {most_bytes >> 20} MB")
                if written > room:
                    raise DataError(f"{packed.name} unpacks to more than {target.parent} has room for", "set TMPDIR")
                file.write(piece)
        except (zstd.ZstdError, EOFError) as error:
            hint = "the tool 'zstd' may unpack the beginning of it"
            raise DataError(f"{packed.name} is damaged: {error}", hint) from error


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
