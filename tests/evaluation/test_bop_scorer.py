"""BOP's average recall over frames: perfect for the truth and its twins, and never made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.evaluation.bop_scorer import BopScorer, bop_models_folder
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig

NAMES = ("bushing", "bracket")
OBJECTS = part_objects(NAMES)
MODELS = [item.model for item in OBJECTS]


@pytest.fixture(scope="module")
def simulated():
    config = SceneConfig(width=160, height=120, focal_px=150.0, min_objects=4, max_objects=6)
    return list(zip(range(3), FrameStream(OBJECTS, config, depth=True, seed=2_100_000_007)))


def pose_of(truth: ObjectTruth, change: np.ndarray | None = None, score: float = 0.9) -> ObjectPose:
    model = MODELS[truth.class_id]
    T_camera_object = truth.T_camera_object if change is None else change @ truth.T_camera_object
    fields = {"box_center": model.box_center, "box_size": model.box_size, "box_xyxy": truth.box_xyxy}
    return ObjectPose(
        truth.class_id, truth.class_name, score, T_camera_object, np.eye(6), **fields,
        reprojection_rms_px=1.0, depth_rms_m=0.0, visibility=0.9, depth_used=True,
    )  # fmt: skip


def score_of(simulated, pose_of_truth, with_depth=True, with_meshes=True):
    scorer = BopScorer(MODELS, (lambda: [item.mesh for item in OBJECTS]) if with_meshes else None)
    for _, item in simulated:
        frame = item.frame if with_depth else replace(item.frame, depth_m=None)
        scorer.add(frame, item.truths, [pose_of_truth(truth) for truth in item.truths])
    return scorer.score()


def test_the_truth_scores_one_everywhere(simulated):
    score = score_of(simulated, pose_of)
    total = score.total
    visible = [t for _, item in simulated for t in item.truths if t.visibility >= 0.1]
    assert total.targets == len(visible) > 8
    assert (total.recall_add_01d, total.ar_vsd, total.ar_mssd, total.ar_mspd, total.ar_bop) == (1, 1, 1, 1, 1)
    assert set(score.per_object) == set(NAMES)
    for bins in (score.by_distance_m, score.by_visibility):
        assert sum(item.group.targets for item in bins) == total.targets


def test_a_symmetric_twin_is_as_good_as_the_truth(simulated):
    turn = se3.make_transform(se3.exp_so3([0.0, 0.0, 0.77]))

    def twin(truth):
        pose = pose_of(truth)
        return replace(pose, T_camera_object=pose.T_camera_object @ turn)

    score = score_of(simulated, twin)
    assert score.per_object["bushing"].ar_bop == pytest.approx(1.0)
    assert score.per_object["bracket"].ar_bop < 0.7


def test_a_shift_fails_the_limits_below_it_and_keeps_those_above(simulated):
    """A fifth of the diameter to the right is just above four of MSSD's ten limits."""

    def shifted(truth):
        step = 0.2001 * MODELS[truth.class_id].diameter
        return pose_of(truth, se3.make_transform(translation=(step, 0.0, 0.0)))

    total = score_of(simulated, shifted).total
    assert total.ar_mssd == pytest.approx(0.6)
    assert total.ar_vsd < 0.2 < total.ar_mspd < 1.0


@pytest.mark.parametrize("missing", ["with_depth", "with_meshes"])
def test_without_depth_or_meshes_there_is_no_vsd_and_no_ar(simulated, missing):
    total = score_of(simulated, pose_of, **{missing: False}).total
    assert (total.ar_vsd, total.ar_bop, total.ar_mssd, total.ar_mspd) == (None, None, 1, 1)


@pytest.mark.parametrize(("score_of_wrong", "recall"), [(0.1, 1.0), (0.95, 0.0)])
def test_only_as_many_estimates_count_as_there_are_targets_the_best_scored(simulated, score_of_wrong, recall):
    """Whoever guesses twice gains nothing, and loses where the guess is the surer."""
    _, item = simulated[0]
    aside = se3.make_transform(translation=(0.5, 0.0, 0.0))
    scorer = BopScorer(MODELS)
    right = [pose_of(truth) for truth in item.truths]
    wrong = [pose_of(truth, aside, score_of_wrong) for truth in item.truths]
    scorer.add(item.frame, item.truths, right + wrong)
    total = scorer.score().total
    assert (total.recall_add_01d, total.ar_mssd) == (recall, recall)


def test_nothing_found_is_zero_and_nothing_to_find_is_no_number(simulated):
    scorer = BopScorer(MODELS)
    assert np.isnan(scorer.score().total.ar_mssd) and scorer.score().per_object == {}
    _, item = simulated[0]
    scorer.add(item.frame, item.truths, [])
    assert scorer.score().total.ar_mssd == 0.0


def test_a_data_sets_models_are_found_from_its_scenes(tmp_path):
    scene = tmp_path / "set" / "test" / "000002"
    scene.mkdir(parents=True)
    assert bop_models_folder(scene) is None
    models = tmp_path / "set" / "models"
    models.mkdir()
    (models / "models_info.json").write_text("{}")
    assert bop_models_folder(scene) == bop_models_folder(tmp_path / "set") == models
