"""What the tests of several packages share; the helpers themselves lie in tests/support."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cube import cube_frame, make_cube, save_cube_model, save_recording
from file_queue import pytest_runtestloop  # noqa: F401  (a hook)
from object_pose.core.frame import Frame
from object_pose.core.object_model import ObjectModel
from object_pose.runtime.engine_choice import CACHE_VARIABLE

# Nothing is asserted about time: the machine may be busy with something else.
settings.register_profile("object_pose", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("object_pose")


@pytest.fixture(scope="session", autouse=True)
def engine_choices(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the choices of engines that tests make out of the user's cache; programs that tests start share them."""
    os.environ[CACHE_VARIABLE] = str(tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture
def cube() -> ObjectModel:
    """A 6 cm cube that its corners describe."""
    return make_cube()


@pytest.fixture
def frame() -> Frame:
    """What the camera sees: the cube's front, and the table behind it."""
    return cube_frame()


@pytest.fixture
def cube_model(tmp_path: Path) -> Path:
    """A model file that always finds the cube where it is."""
    return save_cube_model(tmp_path / "cube.onnx")


@pytest.fixture
def recording(frame: Frame, tmp_path: Path) -> Path:
    """The frame as files: rgb/000000.png, depth/000000.png and camera.yaml."""
    return save_recording(tmp_path / "recording", frame)
