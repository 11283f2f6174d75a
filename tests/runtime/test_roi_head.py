"""The RoI head: which classes of a crop become detections, and where their keypoints lie."""

from __future__ import annotations

import base64
import tracemalloc
import zlib

import numpy as np
import pytest

from object_pose.core.errors import ModelError
from object_pose.core.frame import AlignedDepth
from object_pose.core.geometry.camera import Camera
from object_pose.core.results.detections import Detections
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.runtime.roi_head import ROI_HEAD_KEY, KnownBoxes, RoiHead, packed, unpacked


class Network:
    """Answers every crop with the same probabilities, and keypoint k of class c at (c, k) tenths of the crop."""

    def __init__(self, probabilities: list[float]) -> None:
        self.probabilities = probabilities
        self.input_shape = (1, 5, 64, 64)

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        count, classes = len(batch), len(self.probabilities) - 1
        keypoints = np.zeros((count, classes, 1, 2, 3), dtype=np.float32)
        keypoints[..., 0] = 0.1 * np.arange(classes)[:, None, None]
        keypoints[..., 1] = 0.1 * np.arange(2)
        keypoints[..., 2] = 0.01
        weights, masks = np.ones((count, classes, 1), np.float32), np.full((count, 32, 32), 0.25, np.float32)
        return np.tile(np.float32(self.probabilities), (count, 1)), keypoints, weights, masks


class Doubtful(Network):
    """Has three hypotheses of each object, each a tenth of the window further right, of weights 0.3, 0.6 and 0.1."""

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        probabilities, keypoints, _, masks = super().run(batch)
        several = np.repeat(keypoints, 3, axis=2)
        several[..., 0] += 0.1 * np.arange(3)[:, None]
        return probabilities, several, np.tile(np.float32([0.3, 0.6, 0.1]), (*keypoints.shape[:2], 1)), masks


def _refined(
    probabilities: list[float],
    score_threshold: float = 0.1,
    context_crop: bool = False,
    hypothesis_threshold: float = 1.0,
    network: type[Network] = Network,
    visible_masks: bool = False,
) -> Detections:
    candidates = Detections(
        np.array([[20.0, 30.0, 60.0, 70.0]]), np.array([0.81]), np.array([2]), np.zeros((1, 2, 2)), np.ones((1, 2))
    )
    head = RoiHead(network(probabilities))  # type: ignore[arg-type]
    options = DecodeOptions(
        score_threshold=score_threshold,
        context_crop=context_crop,
        hypothesis_threshold=hypothesis_threshold,
        visible_masks=visible_masks,
    )
    return head.refine(np.zeros((100, 100, 3), np.uint8), candidates, options)


def test_two_likely_classes_become_two_detections_the_best_first() -> None:
    found = _refined([0.64, 0.25, 0.01, 0.1])
    assert found.class_ids.tolist() == [0, 1]
    np.testing.assert_allclose(found.scores, [np.sqrt(0.81 * 0.64), np.sqrt(0.81 * 0.25)], rtol=1e-6)
    # The window is 60 pixels wide about (40, 50); the second class has its keypoints a tenth further right.
    np.testing.assert_allclose(found.keypoints, [[[40, 50], [40, 56]], [[46, 50], [46, 56]]], atol=1e-4)
    np.testing.assert_allclose(found.keypoint_sigmas, 0.6, rtol=1e-5)


@pytest.mark.parametrize(
    ("probabilities", "classes"), [([0.9, 0.05, 0.02, 0.03], [0]), ([0.06, 0.05, 0.04, 0.85], [0])]
)
def test_unlikely_classes_are_only_the_best_of_their_window(probabilities, classes) -> None:
    assert _refined(probabilities).class_ids.tolist() == classes


def test_what_scores_too_low_is_dropped() -> None:
    assert len(_refined([0.04, 0.03, 0.03, 0.9], score_threshold=0.3)) == 0


def test_a_context_crop_offers_the_keypoints_of_both_crops() -> None:
    found = _refined([0.64, 0.05, 0.01, 0.3], context_crop=True)
    assert found.class_ids.tolist() == [0, 0]
    np.testing.assert_allclose(found.scores, np.sqrt(0.81 * 0.64), rtol=1e-6)
    # Windows of 60 and 84 pixels about (40, 50), the second keypoint a tenth of them down.
    np.testing.assert_allclose(found.keypoints, [[[40, 50], [40, 56]], [[40, 50], [40, 58.4]]], atol=1e-4)
    np.testing.assert_allclose(found.keypoint_sigmas, [[0.6, 0.6], [0.84, 0.84]], rtol=1e-5)


@pytest.mark.parametrize(("least", "offered"), [(1.0, [1]), (0.25, [1, 0]), (0.05, [1, 0, 2])])
def test_hypotheses_from_a_share_on_are_hypotheses_of_one_candidate_the_likeliest_first(least, offered) -> None:
    found = _refined([0.9, 0.05, 0.02, 0.03], hypothesis_threshold=least, network=Doubtful)
    # The window is 60 pixels wide.
    np.testing.assert_allclose(found.keypoints[:, 0, 0], [40.0 + 6.0 * hypothesis for hypothesis in offered], rtol=1e-5)
    weights = np.array([0.3, 0.6, 0.1])[offered]
    np.testing.assert_allclose(found.scores, np.sqrt(0.81 * 0.9 * weights / 0.6), rtol=1e-5)
    assert len(set(found.candidate_ids)) == 1
    np.testing.assert_allclose(found.likeliest().keypoints[:, 0, 0], [46.0], rtol=1e-5)


def test_masks_come_with_the_crops_that_they_are_of() -> None:
    assert _refined([0.9, 0.05, 0.02, 0.03]).masks.probabilities.shape == (1, 0, 0), "they cost time: only on request"
    found = _refined([0.9, 0.05, 0.02, 0.03], context_crop=True, visible_masks=True)
    assert found.masks.probabilities.shape == (2, 32, 32) and np.all(found.masks.probabilities == 0.25)
    np.testing.assert_allclose(found.masks.windows, [[40.0, 50.0, 60.0], [40.0, 50.0, 84.0]])


def test_two_likely_classes_of_one_candidate_are_hypotheses_of_one_candidate() -> None:
    found = _refined([0.64, 0.25, 0.01, 0.1])
    assert len(set(found.candidate_ids)) == 1
    assert found.likeliest().class_ids.tolist() == [0]


def test_a_head_that_reads_relief_is_given_it() -> None:
    seen = []

    class ReliefNetwork(Network):
        def run(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            seen.append(batch)
            return super().run(batch)

    head = RoiHead(ReliefNetwork([0.9, 0.05, 0.05]))  # type: ignore[arg-type]
    box = np.array([[20.0, 30.0, 60.0, 70.0]])
    candidates = Detections(box, np.ones(1), np.zeros(1, np.int64), np.zeros((1, 2, 2)), np.ones((1, 2)))
    depth = AlignedDepth(np.full((100, 100), 0.5, np.float32), Camera(100, 100, 90.0, 90.0, 49.5, 49.5))
    for given in (depth, None):
        head.refine(np.zeros((100, 100, 3), np.uint8), candidates, DecodeOptions(), given)
    assert [batch.shape for batch in seen] == [(1, 5, 64, 64)] * 2
    assert seen[0][0, 4].all() and not seen[1][0, 3:].any()


def test_a_head_travels_as_text():
    network = b"\x08\x09 an ONNX file" * 100
    (text,) = packed(ROI_HEAD_KEY, network).values()
    assert unpacked(text) == network and len(text) < len(network)


@pytest.mark.parametrize("harm", [lambda text: text[: len(text) // 8 * 4], lambda text: "%" + text[1:]])
def test_a_damaged_head_is_refused(harm):
    (text,) = packed(ROI_HEAD_KEY, b"\x08\x09 an ONNX file" * 100).values()
    with pytest.raises(ModelError, match="RoI head is damaged"):
        unpacked(harm(text))


def test_a_head_that_unpacks_to_gigabytes_is_refused_before_it_does():
    packing = zlib.compressobj(9)
    data = b"".join(packing.compress(bytes(1 << 24)) for _ in range(64)) + packing.flush()
    tracemalloc.start()
    with pytest.raises(ModelError, match="larger than 256 MB"):
        unpacked(base64.b64encode(data).decode())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 600 << 20


def test_candidates_of_tracked_objects_are_confirmed_and_not_refined():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 9], [50, 50, 60, 60], [80, 80, 90, 90]], np.float64)
    candidates = Detections(
        boxes,
        np.array([0.6, 0.8, 0.4, 0.9, 0.1]),
        np.array([0, 0, 1, 0, 0]),
        np.zeros((5, 8, 2)),
        np.ones((5, 8)),
    )
    known = KnownBoxes(np.array([[0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]], np.float64), np.array([0, 1, 0]))
    confirmed, others = known.split(candidates, 0.3)
    # The best of its class; one of another class than the track, and a weak one, are worth the RoI head.
    assert confirmed.tolist() == [1]
    assert others.tolist() == [3, 4]
