"""A U-Net for masks: a frozen encoder as others trained it, and a slim decoder that also tells the resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from object_pose.training.networks.blocks import ConvUnit, PyramidPooling, initialise
from object_pose.training.networks.mobilenet import Encoder, MobileNetV2, fold_batch_norms

STRIDE = 32
_WIDTHS = (32, 48, 64, 96)
_CONTEXT = 128


class FrozenEncoder(nn.Module):
    """An encoder whose batch norms are folded into its convolutions; nothing in it ever learns."""

    def __init__(self, body: Encoder) -> None:
        super().__init__()
        self.body = body
        self.body.eval()
        fold_batch_norms(self.body)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) in [0, 1] to features at strides 2, 4, 8, 16 and 32."""
        taps: list[Tensor] = self.body(images)
        return taps


class UNet(nn.Module):
    """A frozen encoder, and a decoder of 0.5 million parameters; sides of images are multiples of 32.

    Without ``encoder`` it is a MobileNetV2 that has learned nothing.

    The last stage works at half the resolution: it reads each 2x2 block of pixels as 12 channels and writes it as 4,
    which costs a quarter of a stage over all pixels.
    """

    def __init__(self, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.encoder = FrozenEncoder(encoder or MobileNetV2())
        at_2, at_4, at_8, at_16, at_32 = self.encoder.body.tap_channels
        half, quarter, eighth, sixteenth = _WIDTHS
        self.context = nn.Sequential(PyramidPooling(at_32), ConvUnit(at_32, _CONTEXT))
        # What the whole image shows, at every place of it.
        self.scene = nn.Conv2d(_CONTEXT, _CONTEXT, 1)
        self.resolution = nn.Conv2d(_CONTEXT, 1, 1)
        self.to_16 = nn.Sequential(ConvUnit(_CONTEXT + at_16, sixteenth, 3), ConvUnit(sixteenth, sixteenth, 3))
        self.to_8 = nn.Sequential(ConvUnit(sixteenth + at_8, eighth, 3), ConvUnit(eighth, eighth, 3))
        self.to_4 = nn.Sequential(ConvUnit(eighth + at_4, quarter, 3), ConvUnit(quarter, half))
        self.to_2 = ConvUnit(half + at_2 + 12, half, 3)
        self.mask = nn.Conv2d(half, 4, 3, padding=1)
        for part in (self.context, self.to_16, self.to_8, self.to_4, self.to_2, self.mask):
            initialise(part)
        # A start from a network that lacks these gives what that one gave.
        for added in (self.scene, self.resolution):
            nn.init.zeros_(added.weight)
            nn.init.zeros_(added.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 3, H, W) RGB in [0, 1] to logits (B, 1, H, W) and resolutions (B, 1), log2 of decimetres a pixel."""
        at_2, at_4, at_8, at_16, at_32 = self.encoder(images)
        context = self.context(at_32)
        whole = context.mean(dim=(2, 3), keepdim=True)
        x = self.to_16(torch.cat([_doubled(context + self.scene(whole)), at_16], dim=1))
        x = self.to_8(torch.cat([_doubled(x), at_8], dim=1))
        x = self.to_4(torch.cat([_doubled(x), at_4], dim=1))
        pixels = (images - 0.5).to(x.dtype)
        # As 'pixel_unshuffle', whose export knows one size only.
        blocks = [pixels[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        pixels = torch.stack(blocks, dim=2).flatten(1, 2)
        x = self.to_2(torch.cat([_doubled(x), at_2, pixels], dim=1))
        logits: Tensor = nn.functional.pixel_shuffle(self.mask(x), 2)
        return logits.float(), self.resolution(whole)[:, :, 0, 0].float()


class ExportedUNet(nn.Module):
    """The network with probabilities in place of logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (1, 3, H, W) to probabilities (1, 1, H, W) and the resolution (1, 1), log2 of decimetres a pixel."""
        logits, resolution = self.network(images)
        return logits.sigmoid(), resolution


def _doubled(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
