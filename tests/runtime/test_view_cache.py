"""Views are drawn once, and again where what was kept is spoilt or of another object."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.candidates import build_views
from object_pose.core.tracking.view_model import ViewModel
from object_pose.runtime.view_cache import cached_search_views, cached_view_models
from pose_scene import MODELS


def _directory_field(data: bytes, offset: int, value: int) -> bytes:
    """Return a zip file with another number in its directory's first entry."""
    at = data.index(b"PK\x01\x02") + offset
    return data[:at] + value.to_bytes(2, "little") + data[at + 2 :]


@pytest.mark.parametrize(("cached", "draw"), [(cached_view_models, ViewModel.of), (cached_search_views, build_views)])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"spoilt",
        lambda data: data[:-100],
        lambda data: b"",
        lambda data: _directory_field(data, 8, 1),  # encrypted
        lambda data: _directory_field(data, 10, 99),  # compressed in an unknown way
    ],
)
def test_views_are_drawn_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    cached: Callable[[Sequence[ObjectModel], Path], Sequence[Any]],
    draw: Callable[[ObjectModel], Any],
    damage: Callable[[bytes], bytes],
) -> None:
    caplog.set_level(logging.INFO)
    first = cached(MODELS[:2], tmp_path)
    assert "2 classes" in caplog.text
    caplog.clear()
    again = cached(MODELS[:2], tmp_path)
    assert not caplog.text
    kept = next(tmp_path.glob("*.npz"))
    kept.write_bytes(damage(kept.read_bytes()))
    repaired = cached(MODELS[:2], tmp_path)
    assert "1 classes" in caplog.text
    for model, *of_model in zip(MODELS, first, again, repaired):
        drawn = dataclasses.asdict(draw(model))
        for views in of_model:
            for name, value in dataclasses.asdict(views).items():
                assert np.array_equal(value, drawn[name]), name


def test_views_that_were_not_used_for_months_are_forgotten(tmp_path: Path) -> None:
    cached_search_views(MODELS[:2], tmp_path)
    files = sorted(tmp_path.glob("*.npz"))
    for file in files:
        os.utime(file, (time.time() - 100 * 24 * 3600.0,) * 2)
    cached_search_views(MODELS[:1], tmp_path)  # used again
    cached_search_views(MODELS[2:3], tmp_path)
    left = sorted(tmp_path.glob("*.npz"))
    assert len(left) == 2 and len(set(files) & set(left)) == 1
