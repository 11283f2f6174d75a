"""YOLO with keypoints, on its own nano backbone or on MobileNetV2: anchor-free, at most three million parameters.

Ours, in the line of YOLOX (Ge 2021) and YOLOv8: a cross-stage backbone, a top-down and bottom-up neck, and per-cell
predictions of a box, class probabilities and K keypoints, each with its own standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from object_pose.core.errors import ConfigError
from object_pose.core.vision.image import COARSEST_STRIDE
from object_pose.training.networks.blocks import ConvUnit, CrossStage, PyramidPooling, initialise
from object_pose.training.networks.mobilenet import MobileNetV2, fold_batch_norms
from object_pose.training.networks.pretrained import pretrained_mobilenet

STRIDES = (8, 16, COARSEST_STRIDE)
_PRIOR = 0.01
_MOBILENET_WIDTHS = (64, 128, 192)  # of the neck on MobileNetV2


@dataclass(frozen=True)
class YoloOutput:
    """Per-anchor predictions, A anchors in all: network pixels, logits for classes.

    ``boxes_xyxy`` (B, A, 4), ``logits`` (B, A, C), ``keypoints`` (B, A, K, 2), ``sigmas`` (B, A, K),
    ``centers`` (A, 2) and ``strides`` (A,).
    """

    boxes_xyxy: Tensor
    logits: Tensor
    keypoints: Tensor
    sigmas: Tensor
    centers: Tensor
    strides: Tensor


class Backbone(nn.Module):
    """Five strided stages; returns the maps at strides 8, 16 and 32."""

    def __init__(self, widths: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        w1, w2, w3, w4, w5 = widths
        self.to_8 = nn.Sequential(
            ConvUnit(3, w1, 3, 2),
            ConvUnit(w1, w2, 3, 2),
            CrossStage(w2, w2, 1, True),
            ConvUnit(w2, w3, 3, 2),
            CrossStage(w3, w3, 2, True),
        )
        self.to_16 = nn.Sequential(ConvUnit(w3, w4, 3, 2), CrossStage(w4, w4, 2, True))
        self.to_32 = nn.Sequential(ConvUnit(w4, w5, 3, 2), CrossStage(w5, w5, 1, True), PyramidPooling(w5))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, 3, H, W) to the three feature maps, finest first."""
        p8 = self.to_8(images)
        p16 = self.to_16(p8)
        return p8, p16, self.to_32(p16)


class MobileNetBackbone(nn.Module):
    """The encoder's maps at strides 8, 16 and 32, brought to the neck's widths.

    The stem and the first ``frozen_blocks`` blocks never learn, and the encoder's batch norms keep the
    statistics they came with: small batches would only blur them.
    """

    def __init__(self, encoder: MobileNetV2, frozen_blocks: int) -> None:
        super().__init__()
        self.encoder, self.frozen_blocks = encoder, frozen_blocks
        _, _, c8, c16, c32 = encoder.tap_channels
        self.to_8 = ConvUnit(c8, _MOBILENET_WIDTHS[0])
        self.to_16 = ConvUnit(c16, _MOBILENET_WIDTHS[1])
        self.to_32 = nn.Sequential(ConvUnit(c32, _MOBILENET_WIDTHS[2]), PyramidPooling(_MOBILENET_WIDTHS[2]))
        for layer in (self.to_8, self.to_16, self.to_32):
            initialise(layer)
        for part in (encoder.stem, *encoder.blocks[:frozen_blocks]):
            fold_batch_norms(part.eval())
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> MobileNetBackbone:
        """Switch everything but the encoder's batch norms."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, 3, H, W) RGB in [0, 1] to the three feature maps, finest first."""
        _, _, p8, p16, p32 = self.encoder(images)
        return self.to_8(p8), self.to_16(p16), self.to_32(p32)


class Neck(nn.Module):
    """Path aggregation (Liu 2018): context flows down, detail flows back up."""

    def __init__(self, w3: int, w4: int, w5: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.mix_16 = CrossStage(w5 + w4, w4)
        self.mix_8 = CrossStage(w4 + w3, w3)
        self.down_8 = ConvUnit(w3, w3, 3, 2)
        self.mix_16_up = CrossStage(w3 + w4, w4)
        self.down_16 = ConvUnit(w4, w4, 3, 2)
        self.mix_32_up = CrossStage(w4 + w5, w5)

    def forward(self, p8: Tensor, p16: Tensor, p32: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map the three maps to three maps of the same shapes."""
        t16 = self.mix_16(torch.cat([self.up(p32), p16], dim=1))
        n8 = self.mix_8(torch.cat([self.up(t16), p8], dim=1))
        n16 = self.mix_16_up(torch.cat([self.down_8(n8), t16], dim=1))
        n32 = self.mix_32_up(torch.cat([self.down_16(n16), p32], dim=1))
        return n8, n16, n32


class Head(nn.Module):
    """Box, class and keypoint branches of one level."""

    def __init__(self, channels: int, class_count: int, keypoint_count: int, width: int, stride: int) -> None:
        super().__init__()
        self.box = nn.Sequential(ConvUnit(channels, width, 3), nn.Conv2d(width, 4, 1))
        self.classes = nn.Sequential(ConvUnit(channels, width, 3), nn.Conv2d(width, class_count, 1))
        self.keypoints: nn.Module | None = None
        if keypoint_count:
            self.keypoints = nn.Sequential(
                ConvUnit(channels, 2 * width, 3),
                ConvUnit(2 * width, 2 * width, 3, groups=2 * width),
                ConvUnit(2 * width, 2 * width),
                nn.Conv2d(2 * width, 3 * keypoint_count, 1),
            )
        self.stride = stride

    def reset_bias(self) -> None:
        """Start with rare positives and boxes about five cells wide, so that the first losses stay small."""
        final_class, final_box = self.classes[-1], self.box[-1]
        assert isinstance(final_class.bias, Tensor) and isinstance(final_box.bias, Tensor)
        nn.init.constant_(final_class.bias, -math.log((1 - _PRIOR) / _PRIOR))
        nn.init.constant_(final_box.bias, 1.0)
        for final in (final_class, final_box, self.keypoints[-1] if self.keypoints is not None else final_box):
            nn.init.normal_(final.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to raw (B, 4 + C + 3K, H, W)."""
        outputs = [self.box(x), self.classes(x)]
        if self.keypoints is not None:
            outputs.append(self.keypoints(x))
        return torch.cat(outputs, dim=1)


class Yolo(nn.Module):
    """The whole network on any backbone; ``class_count`` classes, ``keypoint_count`` keypoints (0 for boxes only).

    ``backbone`` gives maps of ``widths`` channels at strides 8, 16 and 32, and brings its own weights.
    """

    def __init__(
        self,
        backbone: nn.Module,
        widths: tuple[int, int, int],
        class_count: int,
        keypoint_count: int = 0,
        head_width: int = 64,
    ) -> None:
        super().__init__()
        self.class_count, self.keypoint_count = class_count, keypoint_count
        self.backbone = backbone
        self.neck = Neck(*widths)
        self.heads = nn.ModuleList(
            Head(width, class_count, keypoint_count, head_width, stride) for width, stride in zip(widths, STRIDES)
        )
        initialise(self.neck)
        initialise(self.heads)
        for head in self.heads:
            assert isinstance(head, Head)
            head.reset_bias()

    @property
    def class_layers(self) -> tuple[str, ...]:
        """The layers whose outputs are of the classes: their probabilities, and the keypoints of each."""
        ends = ("classes.1", "keypoints.3") if self.keypoint_count else ("classes.1",)
        return tuple(f"heads.{level}.{end}" for level in range(len(self.heads)) for end in ends)

    def forward(self, images: Tensor) -> YoloOutput:
        """Map (B, 3, H, W) RGB in [0, 1], H and W multiples of 32, to decoded predictions in network pixels."""
        raw, centers, strides = [], [], []
        for feature, head, stride in zip(self.neck(*self.backbone(images)), self.heads, STRIDES):
            level = head(feature)
            raw.append(level.flatten(2))
            centers.append(_cell_centers(level.shape[2], level.shape[3], stride, level.device))
            strides.append(torch.full((level.shape[2] * level.shape[3],), float(stride), device=level.device))
        return self._decode(torch.cat(raw, dim=2).transpose(1, 2).float(), torch.cat(centers), torch.cat(strides))

    def _decode(self, raw: Tensor, centers: Tensor, strides: Tensor) -> YoloOutput:
        classes_end = 4 + self.class_count
        scale = strides[None, :, None]
        sides = nn.functional.softplus(raw[..., :4]) * scale * 2.0
        boxes = torch.cat([centers - sides[..., :2], centers + sides[..., 2:]], dim=-1)
        batch, anchors = raw.shape[:2]
        if not self.keypoint_count:  # ONNX knows no arrays without elements
            nothing = raw.new_zeros((batch, anchors, 0, 2))
            return YoloOutput(boxes, raw[..., 4:], nothing, nothing[..., 0], centers, strides)
        points = raw[..., classes_end:].reshape(batch, anchors, self.keypoint_count, 3)
        keypoints = points[..., :2] * (4.0 * scale[..., None]) + centers[:, None]
        sigmas = torch.exp(points[..., 2].clamp(-5.0, 3.0)) * scale
        return YoloOutput(boxes, raw[..., 4:classes_end], keypoints, sigmas, centers, strides)


class NanoYolo(Yolo):
    """The network on its own small backbone, from random weights."""

    def __init__(
        self,
        class_count: int,
        keypoint_count: int = 0,
        widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 256),
        head_width: int = 64,
    ) -> None:
        backbone = Backbone(widths)
        initialise(backbone)
        super().__init__(backbone, widths[2:], class_count, keypoint_count, head_width)


def mobilenet_yolo(class_count: int, frozen_blocks: int, pretrained: str | None = None) -> Yolo:
    """Return the YOLO of ``class_count`` classes on MobileNetV2; 1.9 million parameters.

    ``pretrained`` names what the encoder's weights know; raises ``ConfigError`` when the package of them is missing.
    """
    encoder = pretrained_mobilenet(pretrained) if pretrained else MobileNetV2()
    return Yolo(MobileNetBackbone(encoder, frozen_blocks), _MOBILENET_WIDTHS, class_count)


@dataclass(frozen=True)
class Scale:
    """The network's input as a ``share`` of the image's size, and the boxes that are taken from there.

    Their side, the root of the area in pixels of the image, is from ``smallest`` up to ``largest``.
    """

    share: float = 1.0
    smallest: float = 0.0
    largest: float = math.inf


class ExportedYolo(nn.Module):
    """The network with the single output tensor of layout ``object_pose_keypoints``.

    With ``flips`` it gives the mean over the image and its mirror image, which keypoints do not allow: mirroring
    exchanges their names. Of several ``scales`` each gives the boxes of its sizes, which keypoints do not have either.
    """

    def __init__(self, network: Yolo, flips: bool = False, scales: Sequence[Scale] = (Scale(),)) -> None:
        super().__init__()
        assert not (network.keypoint_count and (flips or len(scales) > 1))
        self.network, self.flips, self.scales = network, flips, tuple(scales)

    def forward(self, images: Tensor) -> Tensor:
        """Map (1, 3, H, W) to (1, 4 + C + 3K, A): cx, cy, w, h, probabilities, K x (x, y, sigma)."""
        found = [self._at(scale, images) for scale in self.scales]
        return found[0] if len(found) == 1 else torch.cat(found, dim=2)

    def _at(self, scale: Scale, images: Tensor) -> Tensor:
        resized = _resized(images, scale.share)
        output = self.network(resized)
        boxes, probabilities = output.boxes_xyxy, output.logits.sigmoid()
        if self.flips:
            boxes, probabilities = _mean(boxes, probabilities, *self._mirrored(resized))
        low, high = boxes.split(2, dim=-1)
        middles, sizes = (low + high) / 2, high - low
        if len(self.scales) > 1:
            middles, sizes = (middles + 0.5) / scale.share - 0.5, sizes / scale.share
            side = sizes.prod(dim=-1, keepdim=True).sqrt()
            probabilities = probabilities * ((side >= scale.smallest) & (side < scale.largest))
        channels = [middles, sizes, probabilities]
        if self.network.keypoint_count:
            channels.append(torch.cat([output.keypoints, output.sigmas[..., None]], dim=-1).flatten(2))
        return torch.cat(channels, dim=-1).transpose(1, 2)

    def _mirrored(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and probabilities of the mirror image, mirrored back, cell by cell those of the image."""
        output = self.network(images.flip(3))
        height, width = images.shape[2:]
        cells, start = [], 0
        for stride in STRIDES:
            rows, columns = height // stride, width // stride
            cells.append(start + torch.arange(rows * columns).reshape(rows, columns).flip(1).flatten())
            start += rows * columns
        order = torch.cat(cells).to(images.device)
        left, top, right, bottom = output.boxes_xyxy[:, order].unbind(dim=-1)
        last = width - 1.0  # pixel centres are integers
        boxes = torch.stack([last - right, top, last - left, bottom], dim=-1)
        return boxes, output.logits.sigmoid()[:, order]


def _resized(images: Tensor, share: float) -> Tensor:
    """Shrink images (B, C, H, W): by halves as long as that is possible, so that every pixel counts, then the rest."""
    while share <= 0.5:
        images, share = nn.functional.avg_pool2d(images, 2), 2.0 * share
    if share == 1.0:
        return images
    height, width = (round(int(size) * share) for size in images.shape[2:])
    return nn.functional.interpolate(images, (height, width), mode="bilinear", align_corners=False)


def _mean(boxes: Tensor, probabilities: Tensor, other_boxes: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Average two views' probabilities, and their boxes in proportion to how sure each is."""
    weight = probabilities.amax(dim=-1, keepdim=True) + 1e-6
    other_weight = other.amax(dim=-1, keepdim=True) + 1e-6
    mean = (weight * boxes + other_weight * other_boxes) / (weight + other_weight)
    return mean, (probabilities + other) / 2.0


def check_sizes(config: object, names: Sequence[str]) -> None:
    """Raise ``ConfigError`` where one of a config's sizes is no multiple of the coarsest stride."""
    for name in names:
        size = getattr(config, name)
        if size % COARSEST_STRIDE:
            raise ConfigError(f"parameter '{name}' is {size}", f"it must be a multiple of {COARSEST_STRIDE}")


def _cell_centers(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    # Pixel centres are integers, so the centre of an s-pixel cell lies at (s - 1) / 2.
    ys = torch.arange(height, device=device, dtype=torch.float32) * stride + (stride - 1) / 2
    xs = torch.arange(width, device=device, dtype=torch.float32) * stride + (stride - 1) / 2
    grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2)
