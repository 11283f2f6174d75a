"""The loss of the nano YOLO: task-aligned assignment, boxes, classes and keypoints with learned uncertainty.

Assignment: Feng 2021 (TOOD). Boxes: complete IoU (Zheng 2020). Keypoints: absolute error, and a Laplace likelihood
from which each point learns how far it may be off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from object_pose.training.networks.yolo import YoloOutput


@dataclass(frozen=True)
class DetectionTargets:
    """Padded targets of a batch: M is the largest number of objects, ``valid`` marks the real ones.

    ``boxes_xyxy`` (B, M, 4) network pixels, ``class_ids`` (B, M) int64, ``keypoints`` (B, M, K, 2), ``valid`` (B, M).
    """

    boxes_xyxy: Tensor
    class_ids: Tensor
    keypoints: Tensor
    valid: Tensor


@dataclass(frozen=True)
class DetectionLossWeights:
    """How much each part of the loss counts."""

    box: float = 5.0
    classes: float = 0.5
    keypoints: float = 1.0


def detection_loss(
    output: YoloOutput, targets: DetectionTargets, weights: DetectionLossWeights = DetectionLossWeights()
) -> dict[str, Tensor]:
    """Return the parts ``box``, ``classes``, ``keypoints`` and their weighted sum ``total``."""
    index, positive, quality = _assign(output, targets)
    soft_classes = torch.zeros_like(output.logits)
    chosen_class = targets.class_ids.gather(1, index)
    soft_classes.scatter_(2, chosen_class[..., None], (quality * positive)[..., None])
    normaliser = soft_classes.sum().clamp(min=1.0)
    classes = torch.nn.functional.binary_cross_entropy_with_logits(output.logits, soft_classes, reduction="sum")

    weight = quality[positive]
    true_boxes = targets.boxes_xyxy.gather(1, index[..., None].expand(-1, -1, 4))[positive]
    box = ((1.0 - complete_iou(output.boxes_xyxy[positive], true_boxes)) * weight).sum()
    parts = {"box": box / normaliser, "classes": classes / normaliser}
    if output.keypoints.shape[2]:
        batch_index = positive.nonzero()[:, 0]
        true_points = targets.keypoints[batch_index, index[positive]]
        loss = _keypoint_loss(output.keypoints[positive], output.sigmas[positive], true_points, true_boxes)
        parts["keypoints"] = (loss * weight).sum() / normaliser
    else:
        parts["keypoints"] = box.new_zeros(())
    total = sum(getattr(weights, name) * value for name, value in parts.items())
    return {**parts, "total": total}


def complete_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the complete IoU, (N,), of paired (N, 4) xyxy boxes."""
    eps = 1e-7
    low, high = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    overlap = (high - low).clamp(min=0).prod(dim=1)
    size, other_size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0), others[:, 2:] - others[:, :2]
    iou = overlap / (size.prod(dim=1) + other_size.prod(dim=1) - overlap + eps)
    hull = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    distance = ((boxes[:, :2] + boxes[:, 2:] - others[:, :2] - others[:, 2:]) ** 2).sum(dim=1) / 4
    shape = torch.atan(other_size[:, 0] / (other_size[:, 1] + eps)) - torch.atan(size[:, 0] / (size[:, 1] + eps))
    penalty = 4 / math.pi**2 * shape**2
    with torch.no_grad():
        alpha = penalty / (1 - iou + penalty + eps)
    return iou - distance / ((hull**2).sum(dim=1) + eps) - alpha * penalty


def _keypoint_loss(points: Tensor, sigmas: Tensor, true_points: Tensor, true_boxes: Tensor) -> Tensor:
    """Mean over keypoints of the error and of its Laplace likelihood, in units of the box's size.

    The likelihood trains sigma alone: left to divide the error too, it would excuse hard points with a large sigma
    and stop learning them (Seitzer 2022).
    """
    size = (true_boxes[:, 2:] - true_boxes[:, :2]).clamp(min=1).prod(dim=1).sqrt()[:, None]
    error = (points - true_points).abs().sum(dim=-1) / size
    scale = sigmas / size
    likelihood = error.detach() / scale + 2.0 * torch.log(scale)
    return (10.0 * error + 0.1 * likelihood).mean(dim=1)


@torch.no_grad()
def _assign(
    output: YoloOutput, targets: DetectionTargets, candidates: int = 10, alpha: float = 0.5, beta: float = 6.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Give each anchor its object: index (B, A), positive mask (B, A) and quality in [0, 1] (B, A)."""
    iou = _pairwise_iou(targets.boxes_xyxy, output.boxes_xyxy.detach())
    class_index = targets.class_ids[:, :, None].expand(-1, -1, output.logits.shape[1])
    scores = output.logits.detach().sigmoid().transpose(1, 2).gather(1, class_index)
    inside = _centers_inside(targets.boxes_xyxy, output.centers, output.strides)
    usable = inside & targets.valid[:, :, None]
    alignment = (scores**alpha * iou**beta + 1e-9) * usable

    threshold = alignment.topk(min(candidates, alignment.shape[2]), dim=2).values[..., -1:]
    picked = (alignment >= threshold) & usable
    contested = torch.where(picked, iou, iou.new_full((), -1.0))
    index = contested.argmax(dim=1)
    positive = picked.any(dim=1)

    own = torch.nn.functional.one_hot(index, iou.shape[1]).transpose(1, 2).bool() & picked
    aligned = alignment * own
    best_iou = (iou * own).amax(dim=2, keepdim=True)
    quality = (aligned / aligned.amax(dim=2, keepdim=True).clamp(min=1e-9) * best_iou.clamp(min=0.05)).amax(dim=1)
    return index, positive, quality


def _pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (B, M, A) of (B, M, 4) with (B, A, 4)."""
    low = torch.maximum(boxes[:, :, None, :2], others[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], others[:, None, :, 2:])
    overlap = (high - low).clamp(min=0).prod(dim=-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)[:, :, None]
    other_area = (others[..., 2:] - others[..., :2]).clamp(min=0).prod(dim=-1)[:, None]
    return overlap / (area + other_area - overlap + 1e-7)


def _centers_inside(boxes: Tensor, centers: Tensor, strides: Tensor) -> Tensor:
    """Which anchors (B, M, A) lie in which box; a box smaller than a cell still owns the cell around it."""
    half = ((boxes[..., 2:] - boxes[..., :2]) / 2)[:, :, None]
    middle = ((boxes[..., 2:] + boxes[..., :2]) / 2)[:, :, None]
    reach = torch.maximum(half, strides[None, None, :, None] * 0.5)
    return ((centers[None, None] - middle).abs() <= reach).all(dim=-1)
