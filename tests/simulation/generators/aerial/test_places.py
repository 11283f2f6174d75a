"""Tiles of many kinds of place: what is a building, what only looks like one, and how large a pixel is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from object_pose.simulation.generators.aerial.canvas import Canvas
from object_pose.simulation.generators.aerial.coverings import ALL_MATERIALS
from object_pose.simulation.generators.aerial.land import Lot
from object_pose.simulation.generators.aerial.lookalikes import (
    draw_car_park,
    draw_container,
    draw_court,
    draw_lookalike,
)
from object_pose.simulation.generators.aerial.places import PLACE_SIZE, ring_of_wings, sample_place
from object_pose.simulation.generators.aerial.roofs import Building, View, Wing, random_wings
from object_pose.simulation.generators.aerial.rooftops import SHELL, draw_house

SIZE = 400
WING = Wing((0.0, 0.0), (90.0, 60.0))
ABOVE = View(np.array([0.5, 0.0, 0.866]), np.zeros(2), 0.4)


def _canvas(metres_per_pixel: float = 0.1) -> Canvas:
    canvas = Canvas.blank(SIZE, metres_per_pixel)
    canvas.color[:] = 0.4
    return canvas


def test_a_seed_always_gives_the_same_tile() -> None:
    first, second, other = sample_place(11), sample_place(11), sample_place(12)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.mask, second.mask)
    assert first.metres_per_pixel == second.metres_per_pixel != other.metres_per_pixel


def test_tiles_are_of_many_resolutions_and_covers() -> None:
    tiles = [sample_place(seed) for seed in range(30)]
    for tile in tiles:
        assert tile.image.shape == (PLACE_SIZE, PLACE_SIZE, 3) and tile.image.dtype == np.uint8
        assert tile.mask.shape == (PLACE_SIZE, PLACE_SIZE) and set(np.unique(tile.mask)) <= {0, 255}
    covers = [float((tile.mask > 0).mean()) for tile in tiles]
    resolutions = [tile.metres_per_pixel for tile in tiles]
    assert min(covers) < 0.05 and max(covers) > 0.45 and 0.15 < np.mean(covers) < 0.5
    assert 0.05 <= min(resolutions) < 0.08 and 0.2 < max(resolutions) <= 0.4


@pytest.mark.parametrize("metres_per_pixel", [0.06, 0.12, 0.3])
def test_things_are_as_many_pixels_as_their_size_on_the_ground(metres_per_pixel: float) -> None:
    canvas = _canvas(metres_per_pixel)
    draw_container(canvas, np.array([200.0, 200.0]), 0.3, np.random.default_rng(2))
    area_m2 = float((canvas.height > 0).sum()) * metres_per_pixel**2
    assert 2 * 1.9 * 2 * 0.95 * 0.7 < area_m2 < 13 * 2.6 * 1.3
    assert canvas.height.max() * metres_per_pixel == pytest.approx(2.5, abs=0.7)
    assert not canvas.roof.any()


def test_a_shell_without_a_roof_is_a_building() -> None:
    canvas = _canvas()
    shell = Building((200.0, 200.0), 0.0, (WING,), SHELL, 0.0, 60.0, "concrete")
    draw_house(canvas, shell, ABOVE, np.random.default_rng(3))
    assert canvas.roof[150:250, 120:280].all() and canvas.roof.sum() < 1.1 * 180 * 120
    # Its walls stand over its floor.
    assert canvas.height[200, 105:295].max() > 1.5 * np.median(canvas.height[150:250, 120:280])


@pytest.mark.parametrize("material", ALL_MATERIALS)
def test_a_roof_of_any_material_is_drawn_at_any_resolution_and_takes_its_tint(material: str) -> None:
    for metres_per_pixel in (0.05, 0.3):
        canvas = _canvas(metres_per_pixel)
        building = Building((200.0, 200.0), 0.0, (WING,), "flat", 0.0, 60.0, material, (0.6, 0.3, 0.2))
        draw_house(canvas, building, ABOVE, np.random.default_rng(1))
        assert canvas.roof[145:255, 115:285].all()
        np.testing.assert_allclose(np.median(canvas.color[canvas.roof], axis=0), (0.6, 0.3, 0.2), atol=0.12)


@pytest.mark.parametrize("draw", [draw_court, draw_car_park, draw_lookalike])
def test_what_only_looks_like_a_roof_is_no_building(
    draw: Callable[[Canvas, Lot, np.random.Generator], None],
) -> None:
    canvas, rng = _canvas(), np.random.default_rng(0)
    draw_house(canvas, Building((330.0, 330.0), 0.0, (WING,), "flat", 0.0, 60.0, "plain"), ABOVE, rng)
    roof, before = canvas.roof.copy(), canvas.color.copy()
    for _ in range(6):
        draw(canvas, Lot(np.array([250.0, 250.0]), np.array([120.0, 100.0]), 0.2), rng)
    np.testing.assert_array_equal(canvas.roof, roof)
    assert (canvas.color != before).any()


def test_houses_round_a_courtyard_leave_it_open() -> None:
    canvas, rng = _canvas(), np.random.default_rng(0)
    wings: tuple[Wing, ...] = ()
    while len(wings) != 4:
        wings = ring_of_wings(rng, np.array([120.0, 100.0]), 50.0)
    draw_house(canvas, Building((200.0, 200.0), 0.0, wings, "hip", 0.4, 50.0, "tile"), ABOVE, rng)
    assert not canvas.roof[190:210, 190:210].any()
    assert canvas.roof[110, 90:310].all()


@pytest.mark.parametrize("scale", [0.2, 0.5, 2.0])
def test_houses_have_the_same_outlines_at_any_resolution(scale: float) -> None:
    shapes = (0.1, 0.4, 0.3, 0.2)
    for seed in range(20):
        fine = random_wings(np.random.default_rng(seed), 90.0, 60.0, shapes)
        other = random_wings(np.random.default_rng(seed), 90.0 * scale, 60.0 * scale, shapes, scale)
        assert len(fine) == len(other)
        for first, second in zip(fine, other):
            np.testing.assert_allclose(second.middle, np.asarray(first.middle) * scale, atol=1e-9)
            np.testing.assert_allclose(second.half, np.asarray(first.half) * scale, atol=1e-9)


def test_land_is_split_without_gaps_or_overlaps() -> None:
    whole = Lot(np.array([200.0, 200.0]), np.array([150.0, 100.0]), 0.0)
    parts = whole.split(60.0, SIZE, np.random.default_rng(0))
    assert len(parts) > 6 and all(part.half[0] >= part.half[1] for part in parts)
    assert sum(4 * part.half.prod() for part in parts) == pytest.approx(4 * whole.half.prod())
    corners = np.concatenate([part.corners() for part in parts])
    np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [[50, 100], [350, 300]], atol=1e-9)
