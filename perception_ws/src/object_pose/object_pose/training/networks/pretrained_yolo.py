"""The YOLO on MobileNetV2: what a few hundred photographs cannot teach comes from ImageNet."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from object_pose.training.networks.blocks import ConvUnit, PyramidPooling, initialise
from object_pose.training.networks.mobilenet import MobileNetV2, pretrained_mobilenet
from object_pose.training.networks.yolo import Yolo

WIDTHS = (64, 128, 192)


class MobileNetBackbone(nn.Module):
    """The encoder's maps at strides 8, 16 and 32, brought to the neck's widths.

    The stem and the first ``frozen_blocks`` blocks never learn, and the encoder's batch norms keep ImageNet's
    statistics: small batches would only blur them.
    """

    def __init__(self, encoder: MobileNetV2, frozen_blocks: int) -> None:
        super().__init__()
        self.encoder, self.frozen_blocks = encoder, frozen_blocks
        _, _, c8, c16, c32 = encoder.tap_channels
        self.to_8 = ConvUnit(c8, WIDTHS[0])
        self.to_16 = ConvUnit(c16, WIDTHS[1])
        self.to_32 = nn.Sequential(ConvUnit(c32, WIDTHS[2]), PyramidPooling(WIDTHS[2]))
        for layer in (self.to_8, self.to_16, self.to_32):
            initialise(layer)
        for part in (encoder.stem, *encoder.blocks[:frozen_blocks]):
            _merge_norms(part.eval())
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


def _merge_norms(part: nn.Module) -> None:
    """Fold each batch norm into its convolution: what does not learn need not be computed twice."""
    for unit in [module for module in part.modules() if isinstance(module, nn.Sequential)]:
        for index, (layer, norm) in enumerate(zip(list(unit), list(unit)[1:])):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                unit[index], unit[index + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()


def mobilenet_yolo(class_count: int, frozen_blocks: int, pretrained: bool = False) -> Yolo:
    """Return the YOLO of ``class_count`` classes on MobileNetV2; 1.9 million parameters.

    ``pretrained`` starts the encoder from ImageNet; raises ``ConfigError`` when the package of its weights is missing.
    """
    encoder = pretrained_mobilenet() if pretrained else MobileNetV2()
    return Yolo(MobileNetBackbone(encoder, frozen_blocks), WIDTHS, class_count)
