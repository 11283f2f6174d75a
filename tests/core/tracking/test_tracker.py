"""Tracks: one id per object through noise, gaps, company and a moving camera; growing doubt; a clean restart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults, RejectionReason
from object_pose.core.tracking.tracker import Tracker, TrackerConfig
from pose_scene import BRACKET_ID, MODELS, PLATE_ID, SHAFT_ID
from poses import pose_of

FRAME_NS = 66_000_000
SIGMA_M, SIGMA_RAD = 0.001, 0.02
COVARIANCE = np.diag([SIGMA_M**2] * 3 + [SIGMA_RAD**2] * 3)


def at(x: float, y: float = 0.0, turn: Sequence[float] = (0.3, -0.2, 0.1)) -> Array:
    return se3.make_transform(se3.exp_so3(turn), (x, y, 0.6))


def seen(pose: Array, class_id: int = BRACKET_ID, rng: np.random.Generator | None = None) -> ObjectPose:
    """A pose as the solver would report it, with noise as large as it says."""
    if rng is not None:
        turned = se3.exp_so3(SIGMA_RAD * rng.normal(size=3)) @ pose[:3, :3]
        pose = se3.make_transform(turned, pose[:3, 3] + SIGMA_M * rng.normal(size=3))
    return pose_of(MODELS[class_id], class_id, pose, covariance=COVARIANCE, visibility=0.8)


def results(*poses: ObjectPose) -> PoseResults:
    return PoseResults(poses, ())


def ids(output: PoseResults) -> list[int]:
    return [pose.track_id for pose in output.poses]


def test_an_object_keeps_its_id_and_grows_older() -> None:
    tracker, rng = Tracker(MODELS), np.random.default_rng(0)
    outputs = [tracker.update(results(seen(at(0.0), rng=rng)), i * FRAME_NS).poses[0] for i in range(20)]
    assert {pose.track_id for pose in outputs} == {outputs[0].track_id}
    assert [pose.track_age for pose in outputs] == list(range(1, 21))


def test_a_still_object_in_the_world_becomes_steadier_than_its_measurements() -> None:
    tracker, rng = Tracker(MODELS), np.random.default_rng(1)
    filtered, raw = [], []
    for i in range(90):
        pose = seen(at(0.0), rng=rng)
        output = tracker.update(results(pose), i * FRAME_NS, np.eye(4)).poses[0]
        if i >= 30:
            filtered.append(output.T_camera_object[:3, 3])
            raw.append(pose.T_camera_object[:3, 3])
    assert np.std(filtered, axis=0).max() < 0.6 * np.std(raw, axis=0).min()
    assert np.all(np.diag(output.covariance) < np.diag(COVARIANCE))


def test_where_stamps_stand_still_poses_keep_their_id_and_their_sigma() -> None:
    """An object that moves 1 mm a frame, unknown to a tracker without a clock."""
    tracker, rng = Tracker(MODELS), np.random.default_rng(2)
    for i in range(30):
        pose = seen(at(0.001 * i), rng=rng)
        output = tracker.update(results(pose), 0).poses[0]
    assert output.track_id == 0
    np.testing.assert_allclose(output.T_camera_object, pose.T_camera_object)
    assert np.all(np.diag(output.covariance) >= np.diag(COVARIANCE))


def test_a_gap_is_bridged_with_growing_doubt_and_fading_score() -> None:
    tracker = Tracker(MODELS, TrackerConfig(max_dropout_s=1.0))
    for i in range(5):
        last = tracker.update(results(seen(at(0.0))), i * FRAME_NS, np.eye(4)).poses[0]
    bridged = [tracker.update(results(), (5 + i) * FRAME_NS, np.eye(4)).poses[0] for i in range(10)]
    assert {pose.track_id for pose in bridged} == {last.track_id}
    assert {pose.track_age for pose in bridged} == {5}
    assert {pose.visibility for pose in bridged} == {0.0}
    assert np.all(np.diff([np.trace(pose.covariance) for pose in [last, *bridged]]) > 0.0)
    assert np.all(np.diff([pose.score for pose in [last, *bridged]]) < 0.0)
    back = tracker.update(results(seen(at(0.001))), 16 * FRAME_NS, np.eye(4)).poses[0]
    assert (back.track_id, back.track_age, back.visibility) == (last.track_id, 6, 0.8)


def test_after_too_long_a_gap_the_object_is_a_new_one() -> None:
    tracker = Tracker(MODELS, TrackerConfig(max_dropout_s=0.5, max_dropout_frames=2))
    first = [ids(tracker.update(results(seen(at(0.0))), i * FRAME_NS)) for i in range(5)][-1]
    for i in range(3):
        assert tracker.update(results(), 4 * FRAME_NS + 600_000_000 + i * FRAME_NS).poses == ()
    assert ids(tracker.update(results(seen(at(0.0))), 4 * FRAME_NS + 900_000_000)) != first


@pytest.mark.parametrize("period_s", [2, 30, 3600])
def test_a_slow_or_triggered_camera_keeps_the_ids(period_s: int) -> None:
    tracker, rng = Tracker(MODELS), np.random.default_rng(3)
    places = (0.0, 0.3)
    outputs = [
        tracker.update(results(*(seen(at(x), rng=rng) for x in places)), i * period_s * 1_000_000_000) for i in range(8)
    ]
    assert {tuple(ids(output)) for output in outputs} == {tuple(ids(outputs[0]))}
    missing = tracker.update(results(seen(at(0.0))), 8 * period_s * 1_000_000_000)
    assert ids(missing) == ids(outputs[0])[:1], "what was seen so long ago is not reported"
    again = tracker.update(results(*(seen(at(x)) for x in places)), 9 * period_s * 1_000_000_000)
    assert ids(again) == ids(outputs[0])
    elsewhere = tracker.update(results(seen(at(0.0)), seen(at(0.9))), 10 * period_s * 1_000_000_000)
    assert ids(elsewhere)[0] == ids(outputs[0])[0] and ids(elsewhere)[1] not in ids(outputs[0])


def test_a_passing_glimpse_is_not_bridged() -> None:
    tracker = Tracker(MODELS, TrackerConfig(min_age=3))
    for i in range(2):
        tracker.update(results(seen(at(0.0))), i * FRAME_NS)
    assert tracker.update(results(), 2 * FRAME_NS).poses == ()


def test_several_objects_of_a_class_are_not_confused_whatever_their_order() -> None:
    tracker, rng = Tracker(MODELS), np.random.default_rng(2)
    places = [-0.1, 0.0, 0.1]
    seen_at: dict[int, set[float]] = {}
    for i in range(40):
        order = rng.permutation(3)
        visible = [place for place in (places[k] for k in order) if rng.random() > 0.2]
        output = tracker.update(results(*(seen(at(place), rng=rng) for place in visible)), i * FRAME_NS)
        for pose in output.poses:
            nearest = min(places, key=lambda place: abs(place - pose.T_camera_object[0, 3]))
            seen_at.setdefault(pose.track_id, set()).add(nearest)
    assert sorted(next(iter(spots)) for spots in seen_at.values()) == places
    assert all(len(spots) == 1 for spots in seen_at.values())


def test_another_class_at_the_same_place_is_another_object() -> None:
    tracker = Tracker(MODELS)
    for i in range(5):
        bracket = ids(tracker.update(results(seen(at(0.0))), i * FRAME_NS))
    output = tracker.update(results(seen(at(0.0), PLATE_ID)), 5 * FRAME_NS)
    # The bridged bracket gives way to what stands in its place now.
    assert [pose.class_id for pose in output.poses] == [PLATE_ID]
    assert ids(output) != bracket


def test_symmetric_poses_are_one_object_and_do_not_shake_it() -> None:
    tracker, rng = Tracker(MODELS), np.random.default_rng(3)
    outputs = []
    for i in range(30):
        spin = se3.make_transform(se3.exp_so3([0.0, 0.0, rng.uniform(-np.pi, np.pi)]))
        outputs.append(tracker.update(results(seen(at(0.0) @ spin, SHAFT_ID)), i * FRAME_NS).poses[0])
    assert len({pose.track_id for pose in outputs}) == 1
    turns = [se3.rotation_angle(outputs[0].T_camera_object[:3, :3], pose.T_camera_object[:3, :3]) for pose in outputs]
    assert max(turns) < 1e-6


def test_a_single_flipped_pose_is_ignored_and_a_lasting_one_believed() -> None:
    tracker = Tracker(MODELS, TrackerConfig(change_patience=3))
    upright, flipped = at(0.0, turn=(0.0, 0.0, 0.0)), at(0.0, turn=(0.0, 0.0, np.pi))
    for i in range(5):
        tracker.update(results(seen(upright)), i * FRAME_NS)
    angles = []
    for i in range(3):
        pose = tracker.update(results(seen(flipped)), (5 + i) * FRAME_NS).poses[0]
        angles.append(np.degrees(se3.rotation_angle(pose.T_camera_object[:3, :3], upright[:3, :3])))
    assert angles[0] < 1.0 and angles[1] < 1.0
    assert angles[2] == pytest.approx(180.0, abs=1.0)


def test_a_moved_object_is_followed_under_its_id_once_it_is_sure_and_one_blunder_is_not() -> None:
    tracker = Tracker(MODELS, TrackerConfig(change_patience=3))
    for i in range(20):
        before = tracker.update(results(seen(at(0.0))), i * FRAME_NS, np.eye(4)).poses[0]
    offsets = []
    for i in range(3):
        after = tracker.update(results(seen(at(0.015))), (20 + i) * FRAME_NS, np.eye(4)).poses[0]
        assert after.track_id == before.track_id
        offsets.append(after.T_camera_object[0, 3])
    assert offsets[0] < 0.001
    assert offsets[2] == pytest.approx(0.015, abs=0.002)


def test_a_camera_that_moves_in_a_known_way_sees_the_world_stand_still() -> None:
    tracker, rng = Tracker(MODELS), np.random.default_rng(4)
    T_world_object = at(0.05)
    identities, errors = set(), []
    for i in range(30):
        T_world_camera = se3.exp([0.01 * i, -0.005 * i, 0.0, 0.0, 0.02 * i, 0.0])
        T_camera_object = se3.inverse(T_world_camera) @ T_world_object
        visible = results() if 12 <= i < 20 else results(seen(T_camera_object, rng=rng))
        (pose,) = tracker.update(visible, i * FRAME_NS, T_world_camera).poses
        identities.add(pose.track_id)
        errors.append(np.linalg.norm(pose.T_camera_object[:3, 3] - T_camera_object[:3, 3]))
    assert len(identities) == 1
    assert max(errors[10:]) < 3 * SIGMA_M


def test_a_camera_that_moves_in_an_unknown_way_is_followed_without_lag() -> None:
    tracker, rng = Tracker(MODELS), np.random.default_rng(5)
    errors = []
    for i in range(30):
        pose = at(0.004 * i)
        output = tracker.update(results(seen(pose, rng=rng)), i * FRAME_NS).poses[0]
        errors.append(np.linalg.norm(output.T_camera_object[:3, 3] - pose[:3, 3]))
    assert np.median(errors) < 2.5 * SIGMA_M


def test_time_running_backwards_starts_anew_without_reusing_ids() -> None:
    tracker = Tracker(MODELS)
    for i in range(5):
        before = ids(tracker.update(results(seen(at(0.0)), seen(at(0.2))), (100 + i) * FRAME_NS))
    after = tracker.update(results(seen(at(0.0))), 0)
    assert [pose.track_age for pose in after.poses] == [1]
    assert not set(ids(after)) & set(before)


def test_the_covariance_is_carried_into_the_camera_of_the_moment() -> None:
    along_x = np.diag([1e-4, 1e-8, 1e-8, 1e-4, 1e-4, 1e-4])
    tracker = Tracker(MODELS, TrackerConfig(min_age=1))
    quarter_turn = se3.make_transform(se3.exp_so3([0.0, 0.0, np.pi / 2]))
    tracker.update(results(dataclasses.replace(seen(at(0.0)), covariance=along_x)), 0, quarter_turn)
    # The camera has turned back by a quarter: what was its x is now its y.
    bridged = tracker.update(results(), FRAME_NS, np.eye(4)).poses[0]
    assert bridged.covariance[1, 1] > 50 * bridged.covariance[0, 0]


def test_rejections_pass_through() -> None:
    rejection = PoseRejection(0, "bracket", 0.4, np.zeros(4), RejectionReason.UNCERTAIN)
    assert Tracker(MODELS).update(PoseResults((), (rejection,)), 0).rejections == (rejection,)


def test_under_an_unknown_camera_motion_only_the_shortest_gaps_are_bridged() -> None:
    """Where the camera may have moved, an old position is soon a guess, and a planner must not get guesses."""
    tracker = Tracker(MODELS)
    for i in range(5):
        tracker.update(results(seen(at(0.0))), i * FRAME_NS)
    assert len(tracker.update(results(), 5 * FRAME_NS).poses) == 1
    assert tracker.update(results(), 5 * FRAME_NS + 300_000_000).poses == ()


@pytest.mark.parametrize("seed", range(3))
def test_the_error_of_the_depth_scale_does_not_average_out(seed: int) -> None:
    scale_sigma, rng = 0.005, np.random.default_rng(seed)
    tracker, truth = Tracker(MODELS, scale_sigma=scale_sigma), at(0.1)
    along_ray = scale_sigma * truth[:3, 3]
    measured = COVARIANCE.copy()
    measured[:3, :3] += np.outer(along_ray, along_ray)
    for i in range(60):
        pose = dataclasses.replace(seen(truth, rng=rng), covariance=measured, depth_used=True)
        moved = pose.T_camera_object.copy()
        moved[:3, 3] += along_ray
        pose = dataclasses.replace(pose, T_camera_object=moved)
        (output,) = tracker.update(results(pose), i * FRAME_NS, np.eye(4)).poses
    error, covariance = output.T_camera_object[:3, 3] - truth[:3, 3], output.covariance[:3, :3]
    assert 0.2 < error @ np.linalg.solve(covariance, error) < 7.8
    # Across the ray it becomes surer than one measurement, along the ray it does not.
    across = np.array([0.0, 1.0, 0.0])
    assert across @ covariance @ across < 0.5 * SIGMA_M**2
    ray = along_ray / np.linalg.norm(along_ray)
    assert ray @ covariance @ ray > along_ray @ along_ray
