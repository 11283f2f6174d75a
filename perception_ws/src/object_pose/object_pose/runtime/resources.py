"""Where the package's data lies: in a checkout, or in an installed ``share/object_pose``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from object_pose.core.errors import CalibrationError, ConfigError, ModelError

KINDS = ("models", "launch", "calibration", "config")
SHARE_VARIABLE = "OBJECT_POSE_SHARE"
_ERRORS = {"models": ModelError, "calibration": CalibrationError}


def find(kind: str, name: str) -> Path:
    """Return the file or folder ``name`` of one of ``KINDS``; the error names every place that was looked at."""
    places = _places(kind)
    for place in places:
        if (place / name).exists():
            return place / name
    hint = f"looked in {', '.join(map(str, places))}; set {SHARE_VARIABLE} to add a place"
    raise _ERRORS.get(kind, ConfigError)(f"{kind}/{name} was not found", hint)


def folders(kind: str) -> tuple[Path, ...]:
    """Return the folders of one of ``KINDS`` that exist, the first being preferred."""
    return tuple(place for place in _places(kind) if place.is_dir())


def _places(kind: str) -> list[Path]:
    if kind not in KINDS:
        raise ValueError(f"unknown kind of resource '{kind}', expected one of {KINDS}")
    override = os.environ.get(SHARE_VARIABLE)
    prefixes = [prefix for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    shares = [Path(prefix) / "share" / "object_pose" for prefix in (*prefixes, sys.prefix)]
    overridden = [Path(override) / kind] if override else []
    return overridden + _checkout_places(kind) + [share / kind for share in shares]


def _checkout_places(kind: str) -> list[Path]:
    """Return the place in the checkout that this file lies in, if it does; parameters lie beside the package."""
    package = Path(__file__).resolve().parents[1]
    for folder in package.parents:
        if (folder / "perception_ws" / "src").is_dir():
            return [package.parent / kind if kind == "config" else folder / kind]
    return []
