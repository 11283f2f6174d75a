"""Inspection pictures: real solids, damage that changes and shows, labels that follow, splits that share nothing."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from object_pose.simulation.generators.inspection import (
    IMAGE_WH,
    LABELS,
    MIN_CHANGED_PIXELS,
    SEEDS_PER_LOT,
    VISIBLE_LEVELS,
    inspection,
    inspection_sample,
    inspection_twins,
)
from object_pose.simulation.parts import gears_springs, solids
from object_pose.simulation.parts.twins import DAMAGES, KINDS, PARTS_PER_KIND, Lot

SEEDS = [3, 5, 8, 40]


def _mesh(solid) -> trimesh.Trimesh:
    return trimesh.Trimesh(*solids.triangles(solid), process=False)


@settings(max_examples=12)
@given(st.integers(0, 2**31))
def test_gears_and_springs_are_solids_that_damage_changes(seed):
    rng = np.random.default_rng(seed)
    gear, spring = gears_springs.draw_gear(rng), gears_springs.draw_spring(rng)
    tooth_damage, coil_damage = gears_springs.draw_tooth_damage(gear, rng), gears_springs.draw_coil_damage(spring, rng)
    twins = (
        (_mesh(gears_springs.gear_solid(gear)), _mesh(gears_springs.gear_solid(gear, tooth_damage))),
        (_mesh(gears_springs.spring_solid(spring)), _mesh(gears_springs.spring_solid(spring, coil_damage))),
    )
    for whole, damaged in twins:
        assert whole.is_watertight and damaged.is_watertight
        assert whole.volume > 0
        assert abs(whole.volume - damaged.volume) > 1e-4 * whole.volume or not np.allclose(whole.bounds, damaged.bounds)
    if tooth_damage.kind != "bent_teeth":
        assert twins[0][1].volume < twins[0][0].volume
    if coil_damage.kind == "broken_coil":
        assert twins[1][1].body_count == twins[1][0].body_count + 1


def test_a_lot_decides_its_parts_and_no_two_lots_share_one():
    first, again, other = Lot(7), Lot(7), Lot(8)
    for kind in KINDS:
        vertices = first.twin(kind, 0, 0).whole.vertices
        np.testing.assert_array_equal(vertices, again.twin(kind, 0, 0).whole.vertices)
        np.testing.assert_array_equal(vertices, first.twin(kind, 0, 1).whole.vertices)
        for twin in (first.twin(kind, 1, 0), other.twin(kind, 0, 0)):
            assert twin.whole.vertices.shape != vertices.shape or not np.allclose(twin.whole.vertices, vertices)


def test_training_validation_and_test_seeds_draw_from_different_lots():
    lots = [{(start + index) // SEEDS_PER_LOT for index in range(2000)} for start in (0, 1_900_000_000, 2_000_000_000)]
    assert not lots[0] & lots[1] and not lots[1] & lots[2]
    assert max(lots[0]) < min(lots[1]) and (1_900_000_000 - 1) // SEEDS_PER_LOT < min(lots[1]) < min(lots[2])
    assert PARTS_PER_KIND * len(KINDS) * len(lots[2]) > 1000


@pytest.mark.parametrize("seed", SEEDS)
def test_damage_shows_and_is_all_that_the_label_depends_on(seed):
    damaged, whole = inspection_twins(seed)
    assert damaged.image.shape == whole.image.shape == (IMAGE_WH[1], IMAGE_WH[0], 3)
    assert (LABELS[damaged.class_id], LABELS[whole.class_id]) == ("damaged", "undamaged")
    assert damaged.damages and set(damaged.damages) <= set(DAMAGES)
    assert whole.damages == () and not whole.damage.any()
    assert damaged.parts == whole.parts and len(damaged.damages) <= len(damaged.parts) <= 6
    changed = np.abs(damaged.image.astype(int) - whole.image).max(axis=2) > VISIBLE_LEVELS
    assert (changed & damaged.damage).sum() >= MIN_CHANGED_PIXELS
    assert changed[damaged.damage].mean() > 5 * changed[~damaged.damage].mean()


def test_a_seed_is_a_picture():
    for seed in SEEDS[:2]:
        image, class_id = inspection_sample(seed)
        drawn = inspection(seed)
        np.testing.assert_array_equal(image, drawn.image)
        assert class_id == drawn.class_id
        assert (class_id == 0) == drawn.damage.any() == bool(drawn.damages)
    assert not np.array_equal(inspection(SEEDS[0]).image, inspection(SEEDS[1]).image)


def test_both_classes_are_as_frequent():
    coins = [np.random.default_rng([2_000_000_000 + index, 1]).random() < 0.5 for index in range(1000)]
    assert 0.45 < np.mean(coins) < 0.55
