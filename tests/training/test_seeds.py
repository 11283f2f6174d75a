"""Every simulated task trains on samples of training's seeds alone."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from object_pose.simulation.generators.aerial.tile import sample as aerial_sample
from object_pose.simulation.generators.inspection import inspection_twins, lot_seeds, training_lots
from object_pose.simulation.generators.spaceship import spaceship_sample
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig
from object_pose.simulation.seeds import TRAINING

pytest.importorskip("torch")

from object_pose.training.data.sources import RenderedSource
from object_pose.training.tasks.classify import RenderedInspections
from object_pose.training.tasks.oriented import OrientedRecipe
from object_pose.training.tasks.segment import RenderedTiles


def rng() -> np.random.Generator:
    return np.random.default_rng([11, 0, 1])


def test_spaceships():
    drawn = rng()
    for image, _ in islice(OrientedRecipe().samples(rng()), 5):
        np.testing.assert_array_equal(image, spaceship_sample(TRAINING.draw(drawn))[0])


def test_aerial_tiles():
    first = next(RenderedTiles(reuse=1, capacity=4)(rng()))
    np.testing.assert_array_equal(first.image, aerial_sample(TRAINING.draw(rng()))[0])


def test_inspections():
    first = next(RenderedInspections((384, 288), reuse=1, capacity=4)(rng()))
    seed = lot_seeds(next(training_lots(rng())))[0]
    assert seed in TRAINING
    np.testing.assert_array_equal(first.image, inspection_twins(seed)[0].image)


def test_frames_of_parts():
    config = SceneConfig(width=96, height=72)
    first = next(RenderedSource(part_objects(), config)(rng()))
    expected = next(iter(FrameStream(part_objects(), config, seed=TRAINING.draw(rng()))))
    np.testing.assert_array_equal(first.image, expected.frame.rgb)
