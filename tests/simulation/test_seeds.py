"""Seeds of training, validation and test: no seed is of two of them."""

from __future__ import annotations

from itertools import combinations, islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.simulation.generators.inspection import lot_seeds, training_lots
from object_pose.simulation.seeds import TEST, TRAINING, VALIDATION, SeedRange

RANGES = (TRAINING, VALIDATION, TEST)


@pytest.mark.parametrize(("one", "other"), list(combinations(RANGES, 2)), ids=lambda item: item.name)
def test_no_seed_is_of_two_ranges(one: SeedRange, other: SeedRange):
    assert one.stop <= other.first or other.stop <= one.first


@pytest.mark.parametrize("seeds", RANGES, ids=lambda item: item.name)
@given(st.integers(0, 2**63 - 1))
def test_draws_stay_in_their_range(seeds: SeedRange, entropy: int):
    rng = np.random.default_rng(entropy)
    assert all(seeds.draw(rng) in seeds for _ in range(20))


def test_a_range_of_seeds_ends_with_it():
    assert list(VALIDATION.seeds(3, offset=4, step=10)) == [1_900_000_004, 1_900_000_014, 1_900_000_024]
    last = TEST.stop - TEST.first - 1
    assert TEST.seed(last) in TEST and len(TEST.seeds(0)) == 0
    with pytest.raises(ValueError, match="test has seeds"):
        TEST.seed(last + 1)
    with pytest.raises(ValueError, match="validation has seeds"):
        VALIDATION.seeds(2, offset=VALIDATION.stop - VALIDATION.first - 1)


def test_a_production_lot_is_of_one_range_whole():
    lots = [*islice(training_lots(np.random.default_rng(0)), 2000), TRAINING.stop // len(lot_seeds(0)) - 1]
    assert all(seed in TRAINING for lot in lots for seed in lot_seeds(lot))
    assert {seed in VALIDATION for seed in lot_seeds(VALIDATION.first // len(lot_seeds(0)))} == {True}
    assert {seed in TEST for seed in lot_seeds(TEST.first // len(lot_seeds(0)))} == {True}
