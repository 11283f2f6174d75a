"""Two poses of a class on one measured surface are one part, two parts that cover each other are two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from object_pose.core.arrays import Array
from object_pose.core.frame import AlignedDepth
from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults, RejectionReason
from object_pose.core.tracking.shared_surface import find_shared_surfaces
from object_pose.core.tracking.tracker import Tracker
from object_pose.core.tracking.view_model import ViewModel, ViewTables
from pose_scene import BRACKET_ID, MODELS, PLATE_ID, SOLIDS, random_view
from poses import pose_of
from raycast import CAMERA, render_depth

WALL_M = 0.8
FRAME_NS = 33_000_000
Placed = list[tuple[int, Array]]


@pytest.fixture(scope="module")
def tables() -> ViewTables:
    return ViewTables.of([ViewModel.of(model) for model in MODELS])


def seen(class_id: int, pose: Array, visibility: float = 0.9, track_id: int = -1) -> ObjectPose:
    """A tracked pose with the box of its contour."""
    model = MODELS[class_id]
    pixels = CAMERA.project(se3.apply(pose, model.points_object))
    box = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
    return pose_of(model, class_id, pose, visibility=visibility, box_xyxy=box, track_id=track_id)


def repeated(tables: ViewTables, placed: Placed, poses: list[ObjectPose]) -> list[int | None]:
    depth_m = render_depth([(SOLIDS[class_id], pose) for class_id, pose in placed], CAMERA, WALL_M)
    class_ids = np.array([pose.class_id for pose in poses], dtype=np.intp)
    transforms = np.stack([pose.T_camera_object for pose in poses])
    views = tables.nearest(class_ids, transforms[:, :3, :3].copy(), transforms[:, :3, 3].copy())
    return find_shared_surfaces(poses, tables, views, AlignedDepth(depth_m, CAMERA))


def depth_share(placed: Placed, row: int) -> float:
    """Which share of the pixels of a part in ``row``, alone before the wall, the others leave it."""
    alone, together = (
        render_depth([(SOLIDS[class_id], pose) for class_id, pose in items], CAMERA, WALL_M)
        for items in (placed[row : row + 1], placed)
    )
    own = alone < WALL_M
    return float(np.count_nonzero(own & (together == alone)) / max(np.count_nonzero(own), 1))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.2, 0.3), is_better_first=st.booleans())
def test_a_pose_that_slipped_along_the_surface_of_another_is_the_same_part(
    tables: ViewTables, seed: int, share: float, is_better_first: bool
) -> None:
    rng = np.random.default_rng(seed)
    turn = se3.exp_so3([*rng.uniform(-0.4, 0.4, 2), rng.uniform(-np.pi, np.pi)])
    truth = se3.make_transform(turn, (*rng.uniform(-0.05, 0.05, 2), 0.45))
    length = MODELS[PLATE_ID].box_size[0]
    slipped = truth @ se3.make_transform(translation=(share * length, 0.0, 0.0))
    poses = [seen(PLATE_ID, truth, 0.95), seen(PLATE_ID, slipped, 0.7)]
    expected: list[int | None] = [None, 0]
    if not is_better_first:
        poses.reverse()
        expected = [1, None]
    assert repeated(tables, [(PLATE_ID, truth)], poses) == expected


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), class_id=st.sampled_from([BRACKET_ID, PLATE_ID]))
def test_two_parts_that_overlap_in_the_image_are_two(tables: ViewTables, seed: int, class_id: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = random_view(rng), random_view(rng, rng.uniform(0.35, 0.45))
    placed = [(class_id, first), (class_id, second)]
    # One that goes through the other, or is all but hidden, is no second part.
    apart = np.linalg.norm(first[:3, 3] - second[:3, 3])
    assume(apart > 0.8 * MODELS[class_id].diameter)
    assume(all(depth_share(placed, row) > 0.4 for row in range(2)))
    assert repeated(tables, placed, [seen(class_id, pose) for pose in (first, second)]) == [None, None]


def test_another_class_on_the_surface_is_another_part(tables: ViewTables) -> None:
    truth = random_view(np.random.default_rng(2))
    poses = [seen(BRACKET_ID, truth), seen(PLATE_ID, truth, 0.5)]
    assert repeated(tables, [(BRACKET_ID, truth)], poses) == [None, None]


def test_a_track_that_repeats_another_is_neither_reported_nor_followed_until_it_is_found_anew() -> None:
    tracker = Tracker(MODELS)
    poses = [seen(BRACKET_ID, se3.make_transform(translation=(x, 0.0, 0.5))) for x in (0.0, 0.15)]
    for index in range(4):
        tracked = tracker.update(PoseResults(tuple(poses), ()), index * FRAME_NS, np.eye(4))
    kept, ghost = tracked.poses
    of_ghost = ghost.class_id, ghost.class_name, ghost.score, ghost.box_xyxy
    rejection = PoseRejection(*of_ghost, RejectionReason.DUPLICATE, "the same object", ghost.track_id)
    one = PoseResults((kept,), (rejection,))
    after = tracker.update(one, 4 * FRAME_NS, np.eye(4))
    assert [pose.track_id for pose in after.poses] == [kept.track_id]
    assert [pose.track_id for pose in tracker.predicted(5 * FRAME_NS, np.eye(4))] == [kept.track_id]
    again = tracker.update(PoseResults(tuple(poses), ()), 5 * FRAME_NS, np.eye(4))
    assert {pose.track_id for pose in again.poses} == {kept.track_id, ghost.track_id}
    assert len(tracker.predicted(6 * FRAME_NS, np.eye(4))) == 2
