"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from object_pose.core.errors import ConfigError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends well, and is removed if not."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path`` that is renamed to it when the block ends well, removed if not.

    What killed runs left behind is removed, too. Raises ``ConfigError`` where ``path`` holds files already.
    """
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists already", "name an empty or new folder")
    for leftover in target.parent.glob(f".{target.name}.*.partial"):
        if not _is_running(leftover.suffixes[-2][1:]):
            shutil.rmtree(leftover, ignore_errors=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        os.rename(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_running(process_id: str) -> bool:
    return process_id.isdigit() and Path("/proc", process_id).exists()
