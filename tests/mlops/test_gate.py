"""The interval that decides, and poses through the gate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from object_pose.core.metrics.pose import FrameMatches, PoseMatch
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.workflows.gate_requirements import GateConfig, as_accurate, paired_bootstrap, recall_kept


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        interval = paired_bootstrap(rng.normal(0.1, 1.0, 60), 0.9, 400)
        covered += interval.low <= 0.1 <= interval.high
    assert covered == pytest.approx(180, abs=15)


def test_equal_answers_differ_by_nothing():
    interval = paired_bootstrap(np.zeros(20), 0.95, 100)
    assert (interval.mean, interval.low, interval.high) == (0.0, 0.0, 0.0)


def frames(count: int, found: int, error_mm: float = 1.0, error_deg: float = 0.5, known=None) -> list[FrameMatches]:
    """Return frames of a gear that is always found and a bracket that is found in the first of them."""
    made = []
    for number in range(count):
        names = ("bracket", "gear")
        truths = (
            known[number] if known else [ObjectTruth(i, n, np.eye(4), 1.0, np.zeros(4)) for i, n in enumerate(names)]
        )
        matches = [
            PoseMatch(_pose(truth), truth, 0.05, 1e-3 * error_mm, float(np.radians(error_deg))) for truth in truths
        ]
        missed = () if number < found else (truths[0],)
        made.append(FrameMatches(tuple(matches[len(missed) :]), missed, ()))
    return made


def truths_of(made: list[FrameMatches]) -> list[list[ObjectTruth]]:
    """Return the truths of frames in which all is found."""
    return [[match.truth for match in frame.matches] for frame in made]


def _pose(truth: ObjectTruth) -> ObjectPose:
    fields = (truth.class_id, truth.class_name, 0.9, np.eye(4), np.eye(6), np.zeros(3), np.ones(3), np.zeros(4))
    return ObjectPose(*fields, 0.5, 0.001, 1.0, depth_used=True)


def test_recall_that_is_lost_is_refused_and_every_class_is_named():
    champion = frames(50, 50)
    kept, lost = (
        recall_kept(frames(50, 48), champion, GateConfig()),
        recall_kept(frames(50, 47), champion, GateConfig()),
    )
    assert kept.is_met and lost.is_met is False
    assert "bracket 0.940 (1.000)" in lost.text and "gear 1.000 (1.000)" in lost.text
    nothing = [FrameMatches((), (), ())] * 3
    assert recall_kept(nothing, nothing, GateConfig()).is_met is None


@pytest.mark.parametrize(
    ("errors", "is_met"),
    [
        ({}, True),
        ({"error_mm": 1.3}, True),
        ({"error_mm": 1.6}, False),
        ({"error_deg": 0.7}, True),
        ({"error_deg": 0.9}, False),
        ({"found": 0, "error_mm": 1.6}, False),
    ],
)
def test_poses_that_are_less_accurate_are_refused(errors, is_met):
    champion = frames(20, 20)
    candidate = frames(**{"count": 20, "found": 15, **errors}, known=truths_of(champion))
    assert as_accurate(candidate, champion, GateConfig()).is_met is is_met


def test_accuracy_is_compared_on_what_both_find_alone():
    # Hard objects, which the champion finds by chance and badly, are no reason to be less accurate elsewhere.
    champion = []
    for frame in frames(20, 20):
        hard, easy = frame.matches
        champion.append(dataclasses.replace(frame, matches=(dataclasses.replace(hard, translation_error_m=0.05), easy)))
    candidate = frames(20, 0, error_mm=1.6, known=truths_of(champion))
    assert as_accurate(candidate, champion, GateConfig()).is_met is False
    assert as_accurate(candidate, [FrameMatches((), (), ())] * 20, GateConfig()).is_met is None
