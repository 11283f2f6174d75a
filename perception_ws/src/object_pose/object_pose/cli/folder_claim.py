"""A folder belongs to the settings that it was begun with: going on with others would mix two things."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from object_pose.core.errors import ConfigError
from object_pose.io.writers import write_json


def claim(folder: Path, file_name: str, settings: Mapping[str, Any]) -> None:
    """Note the settings in the folder; raises ``ConfigError`` where it holds something made with others."""
    file = folder / file_name
    if not file.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{folder} holds files of something else", "name an empty or new folder")
        write_json(file, settings)
        return
    present = json.loads(file.read_text())
    for name, value in settings.items():
        if present.get(name) != value:
            raise ConfigError(
                f"{folder} was made with {name} {present.get(name)}, not {value}",
                "use the same options to go on with it, or another folder",
            )
