"""LM-O's real frames (BOP, CC BY-SA 4.0), which nothing was trained or tuned on."""

from __future__ import annotations

from pathlib import Path

from object_pose.core.errors import DataError
from object_pose.runtime.resources import find_data

SCENE = "test/000002"
RGBD_IMAGE = 3
"""The one image that has its depth here."""


def find_lmo() -> Path:
    """Return the LM-O folder of the development data; raises ``DataError`` naming where it was looked for."""
    try:
        return find_data(f"lmo/{SCENE}").parents[1]
    except DataError as error:
        raise DataError(f"LM-O was not found: {error.message}", f"{error.hint} or --data") from error
