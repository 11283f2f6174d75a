"""Rendered aerial tiles: the mask is what was drawn and can be seen, and light falls as it should."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from object_pose.simulation.generators.aerial.canvas import Canvas
from object_pose.simulation.generators.aerial.coverings import MATERIALS
from object_pose.simulation.generators.aerial.ground import (
    draw_car,
    draw_clutter,
    draw_ground,
    draw_tree,
    draw_wall,
    draw_yard,
)
from object_pose.simulation.generators.aerial.light import Weather, shadow_of
from object_pose.simulation.generators.aerial.roofs import Building, View, Wing, draw_building
from object_pose.simulation.generators.aerial.tile import TILE_SIZE, sample

SIZE = 160
MIDDLE = np.array([80.0, 80.0])
ABOVE = View(np.array([0.5, 0.0, 0.866]), np.zeros(2), 0.4)
L_SHAPE = (Wing((0.0, -15.0), (50.0, 15.0)), Wing((35.0, 10.0), (15.0, 20.0), False))


def _built(kind: str, material: str, view: View = ABOVE) -> tuple[Canvas, Building]:
    rng = np.random.default_rng(3)
    canvas = Canvas.blank(SIZE)
    draw_ground(canvas, 0.5, 1.0, rng)
    building = Building((80.0, 80.0), 0.4, L_SHAPE, kind, 0.0 if kind == "flat" else 0.4, 35.0, material)
    draw_building(canvas, building, view, rng)
    return canvas, building


def _filled(building: Building) -> np.ndarray:
    area = np.zeros((SIZE, SIZE), np.uint8)
    for wing in building.wings:
        cv2.fillPoly(area, [np.rint(building.contour(wing) * 16).astype(np.int32)], 1, shift=4)
    return area.astype(bool)


def test_a_seed_always_gives_the_same_tile() -> None:
    first, second, other = sample(11), sample(11), sample(12)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert (first[0] != other[0]).any()


def test_tiles_have_buildings_from_none_to_most_of_the_area() -> None:
    covers = []
    for seed in range(40):
        image, mask = sample(seed)
        assert image.shape == (TILE_SIZE, TILE_SIZE, 3) and image.dtype == np.uint8
        assert mask.shape == (TILE_SIZE, TILE_SIZE) and set(np.unique(mask)) <= {0, 255}
        assert image.std() > 5
        covers.append((mask > 0).mean())
    assert 0.2 < np.mean(covers) < 0.45
    assert min(covers) < 0.05 and max(covers) > 0.5


@pytest.mark.parametrize("kind, material", list(zip(("gable", "hip", "shed", "flat", "gable"), MATERIALS)))
def test_the_mask_is_the_roof_that_was_drawn(kind: str, material: str) -> None:
    canvas, building = _built(kind, material)
    expected = _filled(building)
    inner, outer = (shrink(expected.astype(np.uint8), np.ones((3, 3))) for shrink in (cv2.erode, cv2.dilate))
    band = inner != outer
    np.testing.assert_array_equal(canvas.roof[~band], expected[~band])
    assert (canvas.height[canvas.roof] >= 35.0).all()


def test_walls_that_show_are_no_roof() -> None:
    straight, _ = _built("gable", "tile")
    slanted, building = _built("gable", "tile", View(ABOVE.sun, np.array([0.3, 0.0]), 0.4))
    np.testing.assert_array_equal(slanted.roof, straight.roof)
    seen = (slanted.height > 0) & ~slanted.roof
    assert seen.sum() > 200
    assert np.argwhere(seen)[:, 1].mean() > building.middle[0]


def test_what_a_tree_hides_does_not_count_and_nothing_else_is_lost() -> None:
    canvas, _ = _built("hip", "metal")
    roof, color = canvas.roof.copy(), canvas.color.copy()
    place = np.argwhere(roof).mean(axis=0)[::-1]
    draw_tree(canvas, place, 18.0, 1.0, np.array([0.7, 0.7]), np.random.default_rng(0))
    lost = roof & ~canvas.roof
    assert lost[int(place[1]), int(place[0])]
    assert 300 < lost.sum() < 3000
    assert (np.abs(canvas.color - color).max(axis=2)[lost] > 0).mean() > 0.99
    assert not (canvas.roof & ~roof).any()


def test_cars_yards_walls_and_clutter_are_no_buildings_and_hide_none() -> None:
    canvas, _ = _built("gable", "painted")
    roof, rng = canvas.roof.copy(), np.random.default_rng(0)
    on_roof = canvas.color[roof].copy()
    draw_car(canvas, MIDDLE, 0.3, rng)
    draw_wall(canvas, np.array([[10.0, 10.0], [150.0, 140.0]]), rng)
    draw_clutter(canvas, MIDDLE, 30, 30.0, rng)
    np.testing.assert_array_equal(canvas.roof, roof)
    np.testing.assert_array_equal(canvas.color[roof], on_roof)
    draw_yard(canvas, np.array([[5.0, 5.0], [60.0, 5.0], [60.0, 50.0], [5.0, 50.0]]), rng)
    np.testing.assert_array_equal(canvas.roof, roof)


def test_the_side_of_a_roof_that_faces_the_sun_is_brighter() -> None:
    canvas = Canvas.blank(SIZE)
    draw_building(
        canvas,
        Building((80.0, 80.0), np.pi / 2, (Wing((0.0, 0.0), (50.0, 30.0)),), "gable", 0.5, 30.0, "tile"),
        ABOVE,
        np.random.default_rng(1),
    )
    # The sun stands to the right; the ridge runs up and down.
    assert canvas.color[60:100, 85:105].mean() > 1.3 * canvas.color[60:100, 55:75].mean()


@pytest.mark.parametrize("azimuth", [0.0, 1.0, 2.5, 4.0])
def test_shadows_point_away_from_the_sun_and_are_as_long_as_its_height_says(azimuth: float) -> None:
    height = np.zeros((SIZE, SIZE), np.float32)
    cv2.circle(height, (80, 80), 14, 20.0, -1)
    shadow = shadow_of(height, Weather(azimuth, np.pi / 4, 0.4)) > 0.5
    rows, columns = np.nonzero(shadow)
    along = -((columns - 80) * np.cos(azimuth) + (rows - 80) * np.sin(azimuth))
    assert along.max() == pytest.approx(14 + 20, abs=4)
    assert along.min() > 0
    assert not shadow[78:83, 78:83].any()
