"""When a newly set model is kept, and when it is not."""

from __future__ import annotations

import numpy as np
import pytest

from object_pose.core.results.detections import Detections
from object_pose.runtime.model_trial import ModelTrial, ModelTrialConfig, TrialState

CONFIG = ModelTrialConfig(shadow_images=2, images=4, max_failures=2, max_latency_ratio=4.0)
LABELS = ("gear", "plate")
CORNERS = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 100.0], [0.0, 100.0]])


def detections(*class_ids: int, shift: float = 0.0, keypoints: np.ndarray = CORNERS, sigma: float = 1.0) -> Detections:
    """One box of 100 pixels for each class, side by side."""
    count = len(class_ids)
    offsets = 200.0 * np.arange(count)[:, None] + shift
    boxes = np.concatenate([offsets, np.zeros((count, 1)), offsets + 100.0, np.full((count, 1), 100.0)], axis=1)
    points = keypoints[None] + np.concatenate([offsets, np.zeros((count, 1))], axis=1)[:, None]
    return Detections(
        boxes, np.full(count, 0.9), np.array(class_ids, dtype=np.int64), points, np.full((count, 4), sigma)
    )


def trial(config: ModelTrialConfig = CONFIG, labels: tuple[str, ...] = LABELS) -> ModelTrial:
    return ModelTrial(config, LABELS, labels)


def shadow(model: ModelTrial, *now: Detections, now_ms: float = 10.0) -> None:
    for item in now:
        model.shadowed(detections(0, 1), item, 10.0, now_ms)


def test_a_model_that_agrees_answers_and_is_kept():
    model = trial()
    shadow(model, detections(0, 1))
    assert model.state is TrialState.SHADOW
    shadow(model, detections(0, 1, shift=3.0))
    for _ in range(4):
        assert model.state is TrialState.LIVE
        model.answered(10.0)
    assert (model.state, model.is_running, model.reason) == (TrialState.PASSED, False, "")


@pytest.mark.parametrize(
    "now",
    [detections(), detections(1, 0), detections(0, 1, shift=90.0), detections(0, 1, keypoints=0.2 * CORNERS)],
    ids=["nothing", "other classes", "elsewhere", "other keypoints"],
)
def test_a_model_that_misses_what_the_one_before_detects_never_answers(now):
    model = trial()
    shadow(model, now)
    assert model.state is TrialState.SHADOW
    shadow(model, now)
    assert model.state is TrialState.FAILED and "detects" in model.reason


def test_keypoints_in_the_order_of_another_symmetric_pose_agree():
    model = trial()
    shadow(model, *2 * [detections(0, 1, keypoints=np.roll(CORNERS, 1, axis=0))])
    assert model.state is TrialState.LIVE


def test_a_model_of_other_classes_is_not_held_against_the_one_before():
    model = trial(labels=("bolt", "nut"))
    shadow(model, *2 * [detections()])
    assert model.state is TrialState.LIVE


def test_one_failure_is_forgiven_two_are_not():
    model = trial()
    shadow(model, detections(0, 1), detections(0, 1))
    model.failed("RuntimeError: once")
    model.answered(10.0)
    assert model.state is TrialState.LIVE
    model.failed("RuntimeError: twice")
    assert (model.state, model.reason) == (TrialState.FAILED, "RuntimeError: twice")


def test_a_model_that_takes_too_long_is_told_in_its_shadow():
    model = trial()
    shadow(model, detections(0, 1), detections(0, 1), now_ms=90.0)
    assert model.state is TrialState.FAILED and "90 ms" in model.reason


@pytest.mark.parametrize(("poses", "state"), [({"gear"}, TrialState.PASSED), (set(), TrialState.FAILED)])
def test_what_was_tracked_before_must_have_poses_again(poses, state):
    model = trial()
    model.posed({"gear"}, LABELS)
    shadow(model, detections(0, 1), detections(0, 1))
    model.posed({"gear"}, LABELS)  # of the model before
    for _ in range(2):
        model.answered(10.0)
    model.posed(poses, LABELS)
    for _ in range(2):
        model.answered(10.0)
    assert model.state is state


def test_without_images_to_prove_itself_on_a_model_is_kept_at_once():
    assert trial(ModelTrialConfig(shadow_images=0, images=0)).state is TrialState.PASSED
