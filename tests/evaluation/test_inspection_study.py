"""The statistics of the inspection report, on outcomes whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.evaluation.reports.inspection import study
from object_pose.evaluation.reports.inspection.history import RunHistory, seeds_learned_from
from object_pose.evaluation.reports.inspection.study import Outcome, Proportion
from object_pose.simulation.generators.inspection import lot_seeds, training_lots
from object_pose.simulation.seeds import TRAINING


def _outcome(probability: float, damages: tuple[str, ...] = (), pixels: int = 0) -> Outcome:
    return Outcome(0, bool(damages), damages, 1, pixels, probability, True, 100.0, 10.0)


@given(st.integers(1, 2000), st.floats(0.0, 1.0))
def test_an_interval_holds_its_share_and_narrows_with_more_pictures(whole, value):
    part = round(value * whole)
    low, high = Proportion(part, whole).interval
    assert 0.0 <= low <= part / whole + 1e-9 and part / whole - 1e-9 <= high <= 1.0
    wider_low, wider_high = Proportion(10 * part, 10 * whole).interval
    assert wider_high - wider_low < high - low


def test_wilson_interval_of_a_textbook_case():
    assert Proportion(8, 10).interval == pytest.approx((0.490, 0.943), abs=1e-3)
    assert np.isnan(Proportion(0, 0).value)


def test_figures_of_known_outcomes():
    outcomes = [
        _outcome(0.9, ("bent_teeth",), 50),
        _outcome(0.4, ("bent_teeth",), 40),
        _outcome(0.8, ("worn_teeth",), 90),
        _outcome(0.7, ("worn_teeth", "broken_coil"), 80),
        _outcome(0.1),
        _outcome(0.6),
    ]
    assert study.accuracy(outcomes) == Proportion(4, 6)
    assert study.recall(outcomes) == Proportion(3, 4)
    assert study.false_alarms(outcomes) == Proportion(1, 2)
    assert study.recall_by_damage(outcomes) == {"bent_teeth": Proportion(1, 2), "worn_teeth": Proportion(1, 1)}
    assert [group[2] for group in study.recall_by_size(outcomes, 2)] == [Proportion(1, 2), Proportion(2, 2)]
    assert study.pointing(outcomes) == Proportion(3, 3)
    assert study.figures_of(outcomes)["recall_damaged"] == 0.75
    threshold, found, stopped = study.threshold_for_recall(outcomes, 1.0)
    assert (threshold, found, stopped) == (0.4, Proportion(4, 4), Proportion(1, 2))


@given(st.integers(0, 2**32 - 1))
def test_true_probabilities_are_calibrated_and_overconfident_ones_are_not(seed):
    rng = np.random.default_rng(seed)
    chances = rng.random(3000)
    calibrated = [_outcome(p, ("bent_teeth",) if hit else ()) for p, hit in zip(chances, rng.random(3000) < chances)]
    overconfident = [_outcome(float(item.probability > 0.5), item.damages) for item in calibrated]
    assert study.calibration_error(calibrated) < 0.05 < study.calibration_error(overconfident)


@pytest.mark.parametrize(("of_a_lot", "lot_scenes"), [({}, 32), ({"lot_scenes": 8}, 8)])
def test_the_pictures_that_training_knew_come_from_the_lots_it_drew(of_a_lot, lot_scenes):
    options = {"seed": 3, "batch_size": 16, "reuse": 8, "workers": 1} | of_a_lot
    history = RunHistory("run", "", options, {}, 100, ({"step": 500, "time": 0.0, "split": "train"},))
    seeds = seeds_learned_from(history, 30)
    lots = training_lots(np.random.default_rng([3, 100, 0]))
    count = 400 * 16 // 8 // (2 * lot_scenes)
    drawn = {seed for _, number in zip(range(count), lots) for seed in lot_seeds(number)[:lot_scenes]}
    assert len(set(seeds)) == 30 and set(seeds) <= drawn
    assert all(seed in TRAINING for seed in seeds)
