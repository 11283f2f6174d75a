"""The light that is kept for tests is of a kind that training never draws."""

from __future__ import annotations

import numpy as np

from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.render.lighting import held_out_lighting, random_lighting
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig


def draws(light, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Elevation (sine) of main lights, and their ratio of red to blue."""
    rows = np.array([light(np.random.default_rng(seed), 0.3).lights[0] for seed in range(count)])
    return rows[:, 2], rows[:, 3] / rows[:, 5]


def test_held_out_light_lies_outside_that_of_training():
    (seen_z, seen_tint), (kept_z, kept_tint) = draws(random_lighting), draws(held_out_lighting)
    assert kept_z.max() < seen_z.min()
    assert ((kept_tint < seen_tint.min()) | (kept_tint > seen_tint.max())).all()


def test_a_scene_is_lit_as_its_config_says():
    size = {"width": 96, "height": 64, "focal_px": 90.0, "max_objects": 3}
    indoor, kept = (
        next(iter(FrameStream(part_objects(), SceneConfig(lighting=kind, **size), seed=4))).frame.rgb
        for kind in ("indoor", "held_out")
    )
    assert np.abs(indoor.astype(int) - kept.astype(int)).mean() > 2
