"""A small RGB-D frame that the tests of the files at the edge write and read."""

import numpy as np
import pytest

from object_pose.core.frame import Frame
from object_pose.core.geometry.camera import Camera


@pytest.fixture
def camera() -> Camera:
    return Camera(32, 24, 40.0, 41.0, 15.5, 11.5)


@pytest.fixture
def frame(camera: Camera) -> Frame:
    rng = np.random.default_rng(0)
    depth_mm = rng.integers(300, 2000, (24, 32)).astype(np.float32)
    depth_mm[0, 0] = 0.0
    return Frame(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8), camera, depth_mm * np.float32(1e-3), 1_234_567_890)
