"""CAD files in, poses out: parts that nothing was trained on, found in depth and tracked as all others are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cad_files import save_part
from object_pose.core.errors import DataError, ModelError
from object_pose.core.metrics.pose import match_frame, score_frames
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.scenes.scene import TEST_SCENES, FrameStream
from object_pose.workflows.prepare_parts import PreparePartsConfig, prepare_parts

pytestmark = pytest.mark.timeout(300)  # views of a part take seconds, more on a busy machine
NAMES = ("bracket", "bushing", "pipe_elbow")
BENCH = replace(TEST_SCENES, bin_share=0.0, occluder_share=0.0, max_objects=4, max_distractors=2, max_distance_m=0.6)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return prepare_parts(PreparePartsConfig(tuple(save_part(folder, name) for name in NAMES)))


@pytest.fixture(scope="module")
def scenes():
    stream = FrameStream(part_objects(NAMES), replace(BENCH, views_per_scene=1), depth=True, seed=11)
    return [frame for _, frame in zip(range(3), stream)]


def test_parts_are_found_with_where_they_are_and_how_sure_that_is(prepared, scenes):
    estimator = PoseEstimator(prepared.path)
    assert estimator.card.labels == NAMES
    matches = []
    for scene in scenes:
        poses = estimator.register(scene.frame).results.poses
        matches.append(match_frame(poses, scene.truths, estimator.card.objects, min_visibility=0.7))
        assert all(np.all(np.linalg.eigvalsh(pose.covariance) > 0.0) and pose.depth_used for pose in poses)
    score = score_frames(matches)
    assert score.targets >= 5 and score.recall_add_01d >= 0.75 and score.precision >= 0.75


def test_they_are_tracked_from_frame_to_frame(prepared, scenes):
    estimator = PoseEstimator(Predictor(prepared.path), tracker_config=TrackerConfig())
    first = estimator.estimate(scenes[0].frame).results
    second = estimator.estimate(replace(scenes[0].frame, stamp_ns=33_000_000))
    assert first.poses and "inference" not in second.timings_ms
    assert {pose.track_id for pose in second.results.poses} == {pose.track_id for pose in first.poses}


def test_parts_that_are_not_there_have_no_pose(tmp_path, scenes):
    files = (save_part(tmp_path, "gear"), save_part(tmp_path, "spring"))
    estimator = PoseEstimator(prepare_parts(PreparePartsConfig(files)).path)
    assert not any(estimator.register(scene.frame).results.poses for scene in scenes)


def test_what_was_prepared_is_kept(prepared, tmp_path):
    again = prepare_parts(PreparePartsConfig(tuple(save_part(tmp_path, name) for name in NAMES)))
    assert not again.prepare_s and again.path == prepared.path and "half turn" in again.notes[2]


def test_a_frame_without_depth_is_refused(prepared, scenes):
    with pytest.raises(DataError, match="found in depth"):
        PoseEstimator(prepared.path).register(replace(scenes[0].frame, depth_m=None))


def test_a_damaged_file_is_refused(prepared, tmp_path):
    damaged = tmp_path / "half.parts"
    damaged.write_bytes(prepared.path.read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"half\.parts is damaged"):
        PoseEstimator(damaged)
