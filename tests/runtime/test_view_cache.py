"""Views are drawn once, and again where what was kept is spoilt or of another object."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from object_pose.runtime.view_cache import cached_view_models
from pose_scene import MODELS


def test_views_are_drawn_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first = cached_view_models(MODELS[:2], tmp_path)
    assert "2 classes" in caplog.text
    caplog.clear()
    again = cached_view_models(MODELS[:2], tmp_path)
    assert not caplog.text
    next(tmp_path.glob("*.npz")).write_bytes(b"spoilt")
    repaired = cached_view_models(MODELS[:2], tmp_path)
    assert "1 classes" in caplog.text
    for views, *others in zip(first, again, repaired):
        assert [item.name for item in others] == [views.name] * 2
        assert all(np.array_equal(item.contours, views.contours) for item in others)
