"""Identities over time: whose pose it is says where it lies, not how sure it is."""

from __future__ import annotations

import numpy as np

from benchmarks.live_tracking import LiveTrackingScorer
from benchmarks.tracking_score import TrackingScorer
from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.simulation.parts.objects import load_objects
from poses import pose_of

_MODELS = [item.model for item in load_objects("parts")]
_APART_M = 0.6 * _MODELS[0].diameter
_LEFT, _RIGHT = np.array([0.0, 0.0, 0.6]), np.array([_APART_M, 0.0, 0.6])
_FRAME_NS = 66_000_000


def truth(position: np.ndarray, visibility: float = 1.0) -> ObjectTruth:
    return ObjectTruth(0, _MODELS[0].name, se3.make_transform(np.eye(3), position), visibility, np.zeros(4))


def pose(position: np.ndarray, track_id: int, score: float) -> ObjectPose:
    at = se3.make_transform(np.eye(3), position)
    return pose_of(_MODELS[0], 0, at, score=score, covariance=np.eye(6), track_id=track_id)


def score_of(frames: list[tuple[list[ObjectPose], list[ObjectTruth]]]):
    scorer = TrackingScorer(_MODELS)
    for index, (poses, truths) in enumerate(frames):
        scorer.add(poses, truths, index * _FRAME_NS, np.eye(4))
    return scorer.score()


def test_a_surer_neighbour_that_nobody_sees_takes_no_identity() -> None:
    both = [pose(_LEFT, 4, 0.9), pose(_RIGHT, 6, 0.8)]
    seen, one_hidden = [truth(_LEFT), truth(_RIGHT)], [truth(_RIGHT)]
    score = score_of([(both, seen), (both, one_hidden), (both, seen)])
    assert score.id_switches == 0
    assert score.recall == 1.0


def test_another_identity_in_the_same_place_is_a_switch() -> None:
    frames = [([pose(_LEFT, track_id, 0.9)], [truth(_LEFT)]) for track_id in (1, 1, 2)]
    assert score_of(frames).id_switches == 1


def test_an_identity_lost_by_a_short_occlusion_is_counted() -> None:
    hidden = ([], [truth(_LEFT, 0.0)])
    before, after = (([pose(_LEFT, track_id, 0.9)], [truth(_LEFT)]) for track_id in (1, 2))
    assert score_of([before, hidden, hidden, after]).lost_identities == 1
    assert score_of([before, hidden, hidden, before]).lost_identities == 0


def test_covariances_are_held_against_the_errors_of_correct_poses() -> None:
    frames = [([pose(_LEFT + offset, 1, 0.9)], [truth(_LEFT)]) for offset in np.diag([0.002, 0.002, 0.002])]
    score = score_of(frames)
    assert abs(score.translation.mean_of_3 - 0.002**2) < 1e-9 and score.rotation.mean_of_3 == 0.0
    assert score.translation.within_95 == 1.0
    nothing = score_of([([pose(_LEFT, 1, 0.9)], [truth(_RIGHT)])])
    assert np.isnan(nothing.translation.mean_of_3)


def test_identities_that_change_places_are_two_switches() -> None:
    seen = [truth(_LEFT), truth(_RIGHT)]
    first = [pose(_LEFT, 4, 0.9), pose(_RIGHT, 6, 0.8)]
    swapped = [pose(_LEFT, 6, 0.8), pose(_RIGHT, 4, 0.9)]
    assert score_of([(first, seen), (swapped, seen)]).id_switches == 2


def test_a_track_that_is_wrong_for_long_is_lost_and_not_said() -> None:
    scorer = LiveTrackingScorer(_MODELS)
    right, wrong = pose(_LEFT, 4, 0.9), pose(_LEFT + 1.0, 6, 0.9)
    for index in range(12):
        scorer.add([right, wrong], [truth(_LEFT)], index * _FRAME_NS, np.eye(4), [truth(_LEFT).T_camera_object])
    score = scorer.score()
    assert (score.recall, score.precision) == (1.0, 0.5)
    assert (score.id_switches_per_minute, score.lost_and_not_said) == (0.0, 1)


def test_a_part_that_was_away_may_have_another_id() -> None:
    scorer, parts = LiveTrackingScorer(_MODELS), [truth(_LEFT).T_camera_object]
    frames = [(1, True), (1, True), (2, False), (2, True), (3, True)]
    for index, (track_id, is_there) in enumerate(frames):
        seen = [(pose(_LEFT, track_id, 0.9), truth(_LEFT))] * is_there
        scorer.add([item[0] for item in seen], [item[1] for item in seen], index * _FRAME_NS, np.eye(4), parts)
    assert scorer._switches == 1
