"""Where the package's data lies: in a checkout, or in an installed ``share/object_pose``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from object_pose.core.errors import CalibrationError, ConfigError, DataError, ModelError

KINDS = ("models", "launch", "calibration", "config")
SHARE_VARIABLE = "OBJECT_POSE_SHARE"
DATA_VARIABLE = "OBJECT_POSE_DATA"
_PACKAGE = Path(__file__).resolve().parents[1]
_MESSAGE_PACKAGES = ("vision_msgs", "object_pose_msgs")
_ERRORS = {"models": ModelError, "calibration": CalibrationError}


def find(kind: str, name: str) -> Path:
    """Return the file or folder ``name`` of one of ``KINDS``; the error names every place that was looked at."""
    places = _places(kind)
    for place in places:
        if (place / name).exists():
            return place / name
    hint = f"looked in {', '.join(map(str, places))}; set {SHARE_VARIABLE} to add a place"
    raise _ERRORS.get(kind, ConfigError)(f"{kind}/{name} was not found", hint)


def find_model(name: str | Path) -> Path:
    """Return a model file: the path of one, or where the shipped model of that bare name lies."""
    path = Path(name)
    return path if path.exists() or path.parent != Path() else find("models", path.name)


def shipped_models() -> list[Path]:
    """Return the model files at hand, of each name the one that ``find_model`` takes."""
    found = {path.name: path for folder in reversed(folders("models")) for path in folder.glob("*.onnx")}
    return [found[name] for name in sorted(found)]


def find_data(name: str) -> Path:
    """Return a file or folder of the development data, which is not part of the package.

    They lie where the environment says, otherwise beside the checkout or the working folder. Raises ``DataError``
    naming every place that was looked at.
    """
    named = os.environ.get(DATA_VARIABLE)
    near = [folder.parent / "shared" / "data" for folder in (Path.cwd(), _checkout()) if folder is not None]
    places = [Path(named)] if named else list(dict.fromkeys(near))
    for place in places:
        if (place / name).exists():
            return place / name
    raise DataError(f"data/{name} was not found below {', '.join(map(str, places))}", f"name it with ${DATA_VARIABLE}")


def folders(kind: str) -> tuple[Path, ...]:
    """Return the folders of one of ``KINDS`` that exist, the first being preferred."""
    return tuple(place for place in _places(kind) if place.is_dir())


def message_packages() -> tuple[Path, ...]:
    """Return the folders of the message packages that we use and ROS's common interfaces lack, as far as they exist."""
    checkout = _checkout()
    sources = [] if checkout is None else [checkout / "perception_ws" / name for name in ("src", "stand_ins")]
    shares = [prefix / "share" for prefix in _prefixes()]
    places = [*shares, *sources, *(share / "object_pose" / "messages" for share in shares)]
    found = ([place / name for place in places if (place / name / "msg").is_dir()] for name in _MESSAGE_PACKAGES)
    return tuple(candidates[0] for candidates in found if candidates)


def _places(kind: str) -> list[Path]:
    if kind not in KINDS:
        raise ValueError(f"unknown kind of resource '{kind}', expected one of {KINDS}")
    override = os.environ.get(SHARE_VARIABLE)
    checkout = _checkout()
    overridden = [Path(override) / kind] if override else []
    # parameters lie beside the package
    own = [] if checkout is None else [(_PACKAGE.parent if kind == "config" else checkout) / kind]
    return overridden + own + [prefix / "share" / "object_pose" / kind for prefix in _prefixes()]


def _checkout() -> Path | None:
    """Return the root of the checkout that this file lies in, known by its workspace; None when installed."""
    return next((folder for folder in _PACKAGE.parents if (folder / "perception_ws" / "src").is_dir()), None)


def _prefixes() -> list[Path]:
    """Return the prefixes of ROS workspaces, then Python's."""
    ament = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [Path(prefix) for prefix in (*ament, sys.prefix) if prefix]
