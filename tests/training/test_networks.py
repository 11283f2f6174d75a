"""The networks: sizes that they promise, and losses that know right from wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from object_pose.training.networks.detection_loss import DetectionTargets, complete_iou, detection_loss
from object_pose.training.networks.yolo import ExportedYolo, NanoYolo, Scale, YoloOutput
from object_pose.training.tasks.oriented import OrientedNetwork


def _parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_networks_keep_their_parameter_budgets() -> None:
    assert _parameters(NanoYolo(class_count=17, keypoint_count=8)) <= 3_000_000
    assert _parameters(OrientedNetwork()) < 2_000_000


def test_exported_yolo_has_the_promised_layout() -> None:
    output = ExportedYolo(NanoYolo(class_count=5, keypoint_count=8).eval())(torch.rand(1, 3, 64, 96))
    anchors = 8 * 12 + 4 * 6 + 2 * 3
    assert output.shape == (1, 4 + 5 + 3 * 8, anchors)
    probabilities, sigmas = output[:, 4:9], output[:, 9 + 2 :: 3]
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert (sigmas > 0).all()


def test_a_detector_that_flips_sees_the_mirror_image_as_mirrored() -> None:
    torch.manual_seed(0)
    exported = ExportedYolo(NanoYolo(class_count=3).eval(), flips=True)
    images = torch.rand(1, 3, 64, 96)
    seen, mirrored = exported(images)[0], exported(images.flip(3))[0]
    expected = seen.clone()
    expected[0] = 95.0 - seen[0]
    by_place = [torch.argsort(rows[0] + 1e3 * rows[1]) for rows in (mirrored, expected)]
    torch.testing.assert_close(mirrored[:, by_place[0]], expected[:, by_place[1]], atol=1e-3, rtol=1e-3)


def test_each_scale_of_a_detector_gives_the_boxes_of_its_sizes_in_pixels_of_the_image() -> None:
    torch.manual_seed(0)
    network = NanoYolo(class_count=3).eval()
    images = torch.rand(1, 3, 128, 192)
    scales = (Scale(1.0, 0.0, 100.0), Scale(0.5, 100.0))
    joined = ExportedYolo(network, scales=scales)(images)[0]
    fine = ExportedYolo(network)(images)[0]
    coarse = ExportedYolo(network)(torch.nn.functional.avg_pool2d(images, 2))[0]
    assert joined.shape[1] == fine.shape[1] + coarse.shape[1]
    fine_found, coarse_found = joined.split([fine.shape[1], coarse.shape[1]], dim=1)
    torch.testing.assert_close(fine_found[:4], fine[:4])
    torch.testing.assert_close(coarse_found[:2], 2.0 * (coarse[:2] + 0.5) - 0.5)
    torch.testing.assert_close(coarse_found[2:4], 2.0 * coarse[2:4])
    for found, alone, is_asked in ((fine_found, fine, torch.lt), (coarse_found, coarse, torch.ge)):
        asked = is_asked(found[2:4].prod(dim=0).sqrt(), 100.0)
        assert 0 < asked.sum() < len(asked)
        torch.testing.assert_close(found[4:], alone[4:] * asked)


def _perfect_output(targets: DetectionTargets) -> YoloOutput:
    """One anchor in the middle of each of the targets' boxes, predicting it exactly."""
    boxes = targets.boxes_xyxy
    centers = (boxes[0, :, :2] + boxes[0, :, 2:]) / 2
    logits = torch.nn.functional.one_hot(targets.class_ids, 3).float() * 20 - 10
    sigmas = torch.full(targets.keypoints.shape[:3], 0.5)
    return YoloOutput(boxes, logits, targets.keypoints, sigmas, centers, torch.full((len(centers),), 8.0))


@pytest.fixture
def targets() -> DetectionTargets:
    rng = np.random.default_rng(0)
    low = torch.tensor([[[10.0, 10.0], [60.0, 20.0], [20.0, 80.0]]])
    boxes = torch.cat([low, low + 30.0], dim=-1)
    keypoints = boxes[:, :, None, :2] + torch.from_numpy(rng.uniform(0, 30, (1, 3, 4, 2))).float()
    return DetectionTargets(boxes, torch.tensor([[0, 1, 2]]), keypoints, torch.ones(1, 3, dtype=torch.bool))


def test_loss_is_least_at_the_truth(targets: DetectionTargets) -> None:
    perfect = _perfect_output(targets)
    best = detection_loss(perfect, targets)
    assert float(best["box"]) == pytest.approx(0.0, abs=1e-4)
    shifted = YoloOutput(
        perfect.boxes_xyxy + 6.0,
        perfect.logits,
        perfect.keypoints + 6.0,
        perfect.sigmas,
        perfect.centers,
        perfect.strides,
    )
    worse = detection_loss(shifted, targets)
    assert float(worse["box"]) > float(best["box"]) + 0.2
    assert float(worse["keypoints"]) > float(best["keypoints"]) + 1.0


def test_an_image_without_objects_only_pushes_classes_down() -> None:
    network = NanoYolo(class_count=3, keypoint_count=4)
    nothing = DetectionTargets(
        torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 1, 4, 2), torch.zeros(2, 1).bool()
    )
    parts = detection_loss(network(torch.rand(2, 3, 64, 64)), nothing)
    assert parts["box"].item() == 0.0 and parts["keypoints"].item() == 0.0
    assert parts["classes"].item() > 0.0 and torch.isfinite(parts["total"])


def test_complete_iou_is_one_for_equal_boxes_and_negative_far_apart() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    assert float(complete_iou(boxes, boxes)) == pytest.approx(1.0, abs=1e-5)
    assert float(complete_iou(boxes, boxes + 100.0)) < -0.5
