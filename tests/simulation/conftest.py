"""Shared by the simulation tests: real data where it lies, and a table with one thing on it."""

import os
from pathlib import Path

import numpy as np
import pytest

from object_pose.core.geometry.camera import Camera
from object_pose.simulation.render.lighting import LightSources, make_lighting
from object_pose.simulation.render.materials import Material
from object_pose.simulation.render.renderer import Backdrop, Finish, Optics, World, render

CAMERA = Camera(160, 120, 150.0, 150.0, 79.5, 59.5)
LOOKING_DOWN = np.array([[1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -1.0, 0.5], [0, 0, 0, 1.0]])


@pytest.fixture(scope="session")
def lmo_models() -> Path:
    root = Path(os.environ.get("OBJECT_POSE_DATA", Path(__file__).parents[3] / "shared" / "data"))
    models = root / "lmo" / "models"
    if not models.is_dir():
        pytest.skip(f"no LM-O models at {models}; set OBJECT_POSE_DATA to the folder that holds lmo/")
    return models


@pytest.fixture
def camera() -> Camera:
    return CAMERA


@pytest.fixture
def photograph():
    """Return a function that draws placements on a grey table, lit from above at a slant, without blur or noise."""

    def take(placements, T_world_camera=LOOKING_DOWN, camera=CAMERA, half_xy=(1.0, 1.0)):
        grey = np.full((512, 512, 3), 128, dtype=np.uint8)
        sources = LightSources(
            main=np.array([0.6, 0.0, 0.8, 1.0, 1.0, 1.0]),
            fills=np.zeros((0, 6)),
            sky=np.full(3, 0.3),
            ground=np.full(3, 0.1),
            panels=np.zeros((0, 7)),
            clutter=0.0,
        )
        lighting = make_lighting(sources, np.random.default_rng(0), softness=0.0)
        finish = Finish(Material((0.5, 0.5, 0.5), 0.0, 0.9))
        backdrop = Backdrop(grey, grey, grey, table_half_xy=half_xy)
        optics = Optics(blur_px=0.0, noise_levels=0.0)
        world = World(placements)
        finishes = [finish] * len(placements)
        return render(world, finishes, backdrop, lighting, optics, camera, T_world_camera, np.random.default_rng(0))

    return take
