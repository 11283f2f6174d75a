"""The RoI head's loss: where a region fits two orientations, it learns both and how likely each is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from object_pose.core.errors import ConfigError
from object_pose.core.frame import AlignedDepth
from object_pose.core.geometry.camera import Camera
from object_pose.core.results.detections import Detections
from object_pose.core.vision.decoders import DecodeOptions, Layout
from object_pose.core.vision.roi import RoiWindow, normalised_batch
from object_pose.runtime.card import ModelCard
from object_pose.runtime.engine import ENGINES, EngineConfig
from object_pose.runtime.roi_head import ROI_HEAD_KEY, load_roi_head, packed
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.training.data.augmentation import DetectionSample
from object_pose.training.networks.roi_head import (
    HYPOTHESES,
    RoiNetwork,
    RoiOutput,
)
from object_pose.training.onnx.export import export_onnx
from object_pose.training.tasks.roi_head import RoiRecipe, RoiTrainingConfig, exportable_network, roi_recipe

_KEYPOINTS = 4
_LEFT, _RIGHT = -0.3, 0.3
_CAMERA = Camera(160, 120, 150.0, 150.0, 79.5, 59.5)


class FreeOutputs(nn.Module):
    """One answer for every window: what is learned is what the loss likes best."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.keypoints = nn.Parameter(0.05 * torch.randn(1, HYPOTHESES, _KEYPOINTS, 3, generator=generator))
        self.shares = nn.Parameter(torch.zeros(1, HYPOTHESES))
        self.mask = nn.Parameter(torch.zeros(1, 2, 2))

    def forward(self, windows: torch.Tensor, class_ids: torch.Tensor) -> RoiOutput:
        count = len(windows)
        logits = torch.tensor([[5.0, -5.0]]).expand(count, 2)
        keypoints = self.keypoints.expand(count, 1, -1, -1, -1)
        mask = self.mask.expand(count, 2, 2)
        return RoiOutput(logits, keypoints, keypoints[..., 0] * 0.0, self.shares.expand(count, 1, -1), mask)


def test_two_ways_to_lie_become_two_hypotheses_with_their_shares() -> None:
    recipe = RoiRecipe(1, _KEYPOINTS, lambda rng: iter(()), [])
    network = FreeOutputs()
    truth = torch.zeros(40, _KEYPOINTS, 2)
    truth[:28, :, 0], truth[28:, :, 0] = _LEFT, _RIGHT  # 70 % lie one way
    covered = torch.tensor([[1.0, 0.0], [0.0, 0.25]]).expand(40, -1, -1)
    batch = torch.zeros(40, 5, 8, 8), torch.zeros(40, dtype=torch.long), truth, covered
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(600):
        optimizer.zero_grad()
        recipe.loss(network, batch)["total"].backward()
        optimizer.step()
    places = network.keypoints[0, :, :, 0].detach().numpy()
    shares = network.shares[0].detach().softmax(dim=0).numpy()
    for side, share in ((_LEFT, 0.7), (_RIGHT, 0.3)):
        there = np.abs(places - side).max(axis=1) < 0.05
        assert abs(shares[there].sum() - share) < 0.05
    np.testing.assert_allclose(network.mask[0].detach().sigmoid(), [[1.0, 0.0], [0.0, 0.25]], atol=0.05)


def test_one_class_each_is_what_all_classes_say_of_it() -> None:
    network = RoiNetwork(3, _KEYPOINTS).eval()
    windows, class_ids = torch.rand(5, 5, 80, 80), torch.tensor([0, 2, 1, 2, 0])
    with torch.no_grad():
        every, own = network(windows), network(windows, class_ids)
    rows = torch.arange(5)
    assert own.keypoints.shape == (5, 1, HYPOTHESES, _KEYPOINTS, 3)
    for one, other in ((own.keypoints, every.keypoints), (own.spread, every.spread), (own.shares, every.shares)):
        torch.testing.assert_close(one[:, 0], other[rows, class_ids])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_exported_stages_find_what_the_network_finds(engine: str, tmp_path: Path) -> None:
    labels = ("a", "b", "c")
    network = RoiNetwork(3, _KEYPOINTS)
    export_onnx(exportable_network(network, labels, 80), tmp_path / "head.onnx")
    metadata = packed(ROI_HEAD_KEY, (tmp_path / "head.onnx").read_bytes())
    card = ModelCard("pose", Layout.OBJECT_POSE_KEYPOINTS, labels, (96, 96), _KEYPOINTS)
    head = load_roi_head(tmp_path / "model.onnx", metadata, card, EngineConfig(engine=engine))
    assert head is not None
    rgb = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    boxes = np.array([[20.0, 20.0, 60.0, 70.0], [70.0, 30.0, 140.0, 90.0]])
    candidates = Detections(
        boxes, np.ones(2), np.zeros(2, np.int64), np.zeros((2, _KEYPOINTS, 2)), np.ones((2, _KEYPOINTS))
    )
    options = DecodeOptions(score_threshold=0.0, hypothesis_threshold=0.01, visible_masks=True)
    found = head.refine(rgb, candidates, options)
    assert len(found) > 2

    windows = [RoiWindow.around(box, 80) for box in boxes]
    batch = normalised_batch([window.cut(rgb) for window in windows], [window.cut_relief(None) for window in windows])
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(batch))
    tolerance = 0.5 if engine == "openvino" else 1e-3  # bfloat16 where the processor has it
    for row, class_id, keypoints, mask in zip(
        found.candidate_ids, found.class_ids, found.keypoints, found.masks.probabilities
    ):
        hypotheses = windows[row].to_image(expected.keypoints[row, class_id, ..., :2].numpy())
        assert np.abs(hypotheses - keypoints).max(axis=(1, 2)).min() < tolerance
        np.testing.assert_allclose(mask, expected.mask[row].sigmoid(), atol=0.05)


def test_what_moves_in_the_window_moves_its_keypoints() -> None:
    """Votes are for places relative to their own: the same votes from places further right are further right."""
    network = RoiNetwork(1, _KEYPOINTS).eval()
    mixed = torch.zeros(1, network.votes.in_channels, 20, 20)
    with torch.no_grad():
        network.votes.weight.zero_()
        network.votes.weight.view(HYPOTHESES, _KEYPOINTS, 4, -1)[:, :, 3, 0] = 50.0  # only lit places count
        means = []
        for column in (5, 9):
            lit = mixed.clone()
            lit[0, 0, 7, column] = 1.0
            means.append(network.tally(network.votes(lit).flatten(2), 1)[0][0, 0, 0, 0, :2])
    torch.testing.assert_close(means[1] - means[0], torch.tensor([4 / 20, 0.0]), atol=1e-4, rtol=0)


def test_no_window_is_without_colour_and_depth():
    with pytest.raises(ConfigError, match="more than 1 together"):
        RoiTrainingConfig(colour_only_share=0.6, relief_only_share=0.5)


def test_windows_are_of_whole_places():
    with pytest.raises(ConfigError, match="'roi_size' is 100"):
        RoiTrainingConfig(roi_size=100)


def test_a_larger_window_has_more_places_and_the_same_answers() -> None:
    found = RoiNetwork(2, _KEYPOINTS, size=112).eval()(torch.rand(1, 5, 112, 112))
    assert found.keypoints.shape == (1, 2, HYPOTHESES, _KEYPOINTS, 3)
    assert found.logits.shape == (1, 3)


def _frames(rng: np.random.Generator) -> Iterator[DetectionSample]:
    """Yield one frame for ever: a red square, of which half is seen, and a green one, before black at 1 m."""
    owners = np.full((120, 160), -1, np.int8)
    owners[20:60, 20:60], owners[70:110, 90:130] = 0, 1
    image = np.array([(0, 0, 0), (200, 0, 0), (0, 200, 0)], np.uint8)[owners + 1]
    depth = AlignedDepth(np.where(owners >= 0, 0.5, 1.0).astype(np.float32), _CAMERA)
    boxes = np.array([[19.5, 19.5, 59.5, 59.5], [89.5, 69.5, 129.5, 109.5]])
    while True:
        yield DetectionSample(
            image, boxes, np.array([0, 1]), np.zeros((2, _KEYPOINTS, 2)), depth, owners, np.array([0.2, 1.0])
        )


def _plain_recipe() -> RoiRecipe:
    """Return a recipe that changes neither colour nor relief."""
    return RoiRecipe(2, _KEYPOINTS, _frames, [], 80, 0.0, 0.0, 0.0, 0.0)


def test_masks_are_where_windows_show_their_object_and_nothing_has_none() -> None:
    samples = list(itertools.islice(_plain_recipe().samples(np.random.default_rng(0)), 300))
    for sample in samples:
        mask = cv2.resize(sample.mask, (80, 80), interpolation=cv2.INTER_LINEAR)
        if sample.class_id == 2:
            assert not sample.mask.any()
            continue
        red, green, _ = np.moveaxis(sample.image.astype(int), 2, 0)
        own, other = (red, green) if sample.class_id == 0 else (green, red)
        assert own[mask > 0.9].min() > 100
        assert own[mask < 0.05].max(initial=0) < 130  # grey where nothing is, or another's colour
        assert other[mask > 0.9].max() < 60
    counts = np.bincount([sample.class_id for sample in samples], minlength=3)
    assert counts[0] > 1.5 * counts[1], "what is hardly seen is shown the more often"
    assert counts[2] > 20


def test_the_background_is_shown_as_small_as_small_parts_are() -> None:
    config, scene = RoiTrainingConfig(validation_frames=1), SceneConfig(width=96, height=64, focal_px=90.0)
    usual, small = (roi_recipe(config, replace(scene, clutter_scale=scale)) for scale in (1.0, 0.2))
    assert usual.least_background_px == RoiRecipe(1, 8, _frames, []).least_background_px
    assert small.least_background_px < 10.0


def test_erased_objects_leave_grey_and_no_depth() -> None:
    samples = list(itertools.islice(_plain_recipe().samples(np.random.default_rng(1)), 300))
    nothing = [sample for sample in samples if sample.class_id == 2]
    erased = [sample for sample in nothing if np.any(np.all(sample.image == 114, axis=2) & (sample.image.max() > 0))]
    assert erased
    for sample in erased:
        inside = np.all(sample.image == 114, axis=2)
        assert np.mean(sample.relief[inside][:, 1] == 0.0) > 0.8
