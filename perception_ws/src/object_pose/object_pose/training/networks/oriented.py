"""The network of oriented boxes: a map of cells gives the first box, and a refiner corrects it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from object_pose.training.networks.blocks import ConvUnit, CrossStage, PyramidPooling, initialise
from object_pose.training.networks.contour_fit import ContourFit
from object_pose.training.networks.contour_search import ContourSearch

STRIDE = 8
# The window is this many times the box, and is sampled at so many places across and along it.
_WINDOW_SCALE = 1.7
_WINDOW_WH = (64, 96)
_BRIGHT = 0.8
_VIEWS = 4
_REFINEMENTS = 3
# Signs of a change's parts in the mirror image: shift across and turn are negated.
_MIRRORED = (-1.0, 1.0, -1.0, 1.0, 1.0)


class OrientedNetwork(nn.Module):
    """Finds the cell of the object, if any, and its box there; has the refiner of boxes. 1.3 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.to_2 = nn.Sequential(ConvUnit(1, 32, 5, 2), CrossStage(32, 32, 1, True))
        self.to_4 = nn.Sequential(ConvUnit(32, 64, 3, 2), CrossStage(64, 64, 2, True))
        self.to_8 = nn.Sequential(ConvUnit(64, 128, 3, 2), CrossStage(128, 128, 2, True))
        self.to_16 = nn.Sequential(ConvUnit(128, 160, 3, 2), CrossStage(160, 160, 1, True), PyramidPooling(160))
        self.mix = CrossStage(128 + 160, 128, 2)
        self.cells = nn.Sequential(ConvUnit(128, 64, 3), nn.Conv2d(64, 2, 1))
        self.geometry = nn.Sequential(ConvUnit(128, 128, 3), nn.Conv2d(128, 6, 1))
        initialise(self)
        self.refiner = BoxRefiner()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 1, 200, 200) in [0, 1] to logits (B, cells + 1), the last for nothing, and geometry (B, 6, H, W).

        Geometry is offset x, y in cells, log width, log height in pixels, sine and cosine of yaw.
        """
        p8 = self.to_8(self.to_4(self.to_2(images)))
        up = nn.functional.interpolate(self.to_16(p8), size=p8.shape[2:], mode="nearest")
        features = self.mix(torch.cat([p8, up], dim=1))
        maps = self.cells(features).float()
        nothing = -torch.logsumexp(maps[:, 1].flatten(1), dim=1, keepdim=True)
        geometry = self.geometry(features).float()
        sizes = geometry[:, 2:4] + torch.tensor([3.3, 3.7], device=geometry.device)[None, :, None, None]
        geometry = torch.cat([geometry[:, :2], sizes, geometry[:, 4:]], dim=1)
        return torch.cat([maps[:, 0].flatten(1), nothing], dim=1), geometry


class BoxRefiner(nn.Module):
    """Maps the window of a box, turned upright, to the correction of the box."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvUnit(2, 24, 5, 2),
            ConvUnit(24, 48, 3, 2),
            CrossStage(48, 48, 1, True),
            ConvUnit(48, 80, 3, 2),
            CrossStage(80, 80, 1, True),
            ConvUnit(80, 96, 3, 2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(96 * 6 * 4, 64), nn.SiLU(inplace=True), nn.Linear(64, 5))
        initialise(self)
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)

    def forward(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Map images (B, 1, H, W) and boxes (B, 5), x, y, yaw, width, height, to changes (B, 5) for ``changed``."""
        return self._changes(windows(images, boxes))

    def both_sides(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Return the mean of the changes for the window and for its mirror image."""
        window = windows(images, boxes)
        mirrored = self._changes(window.flip(3)) * torch.tensor(_MIRRORED, device=images.device)
        return (self._changes(window) + mirrored) / 2.0

    def _changes(self, window: Tensor) -> Tensor:
        changes: Tensor = self.head(self.body(window))
        return changes.float()


def windows(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut the boxes' surroundings out, the heading along the rows: (B, 2, 96, 64), brightness and its excess.

    The excess over the background's greatest value survives the resampling, which mixes neighbouring pixels.
    """
    width, height = _WINDOW_WH
    across = torch.linspace(-0.5, 0.5, width, device=images.device) * _WINDOW_SCALE
    along = torch.linspace(-0.5, 0.5, height, device=images.device) * _WINDOW_SCALE
    places = torch.stack([across[None, :].expand(height, width), along[:, None].expand(height, width)], dim=-1)
    pixels = _to_image(places[None] * boxes[:, None, None, 3:5], boxes[:, None, None])
    size = torch.tensor([images.shape[3] - 1.0, images.shape[2] - 1.0], device=images.device)
    planes = torch.cat([images, (images - _BRIGHT).clamp(min=0.0) / (1.0 - _BRIGHT)], dim=1)
    return nn.functional.grid_sample(planes, 2.0 * pixels / size - 1.0, align_corners=True)


def changed(boxes: Tensor, changes: Tensor) -> Tensor:
    """Apply changes (B, 5) to boxes (B, 5): shift in shares of the box across and along, turn, log of both sizes."""
    places = _to_image(changes[:, :2] * boxes[:, 3:5], boxes)
    return torch.cat([places, boxes[:, 2:3] + changes[:, 2:3], boxes[:, 3:5] * changes[:, 3:5].exp()], dim=1)


def changes_between(boxes: Tensor, wanted: Tensor) -> Tensor:
    """Return the changes (B, 5) that turn ``boxes`` into ``wanted``: the inverse of ``changed``."""
    offset = wanted[:, :2] - boxes[:, :2]
    cosine, sine = boxes[:, 2].cos(), boxes[:, 2].sin()
    across = (cosine * offset[:, 0] + sine * offset[:, 1]) / boxes[:, 3]
    along = (-sine * offset[:, 0] + cosine * offset[:, 1]) / boxes[:, 4]
    turn = wanted[:, 2] - boxes[:, 2]
    turn = torch.atan2(turn.sin(), turn.cos())
    return torch.cat([torch.stack([across, along, turn], dim=1), (wanted[:, 3:5] / boxes[:, 3:5]).log()], dim=1)


def _to_image(places: Tensor, boxes: Tensor) -> Tensor:
    """Map (..., 2) pixels across and along boxes (..., 5) to pixels of the image."""
    cosine, sine = boxes[..., 2].cos(), boxes[..., 2].sin()
    x = boxes[..., 0] + cosine * places[..., 0] - sine * places[..., 1]
    y = boxes[..., 1] + sine * places[..., 0] + cosine * places[..., 1]
    return torch.stack([x, y], dim=-1)


def likeliest_boxes(logits: Tensor, geometry: Tensor) -> tuple[Tensor, Tensor]:
    """Read scores (B,) and the boxes (B, 5) of the likeliest cells off the network's maps.

    The neighbours see the same object: their weighted mean is steadier than the best cell alone.
    """
    presence = logits.softmax(dim=1)
    rows, columns = geometry.shape[2:]
    cells = presence[:, :-1].reshape(-1, rows, columns)
    best = cells.flatten(1).argmax(dim=1)
    row = torch.arange(rows, device=cells.device)[None, :, None]
    column = torch.arange(columns, device=cells.device)[None, None, :]
    best_row = torch.div(best, columns, rounding_mode="floor")[:, None, None]
    near = ((row - best_row).abs() <= 1) & ((column - best[:, None, None] + best_row * columns).abs() <= 1)
    weights = cells * near
    weights = weights / weights.sum(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    x = (weights * (geometry[:, 0] + column)).sum(dim=(1, 2)) * STRIDE + (STRIDE - 1) / 2
    y = (weights * (geometry[:, 1] + row)).sum(dim=(1, 2)) * STRIDE + (STRIDE - 1) / 2
    log_width, log_height, sine, cosine = ((weights * geometry[:, i]).sum(dim=(1, 2)) for i in range(2, 6))
    boxes = torch.stack([x, y, torch.atan2(sine, cosine), log_width.exp(), log_height.exp()], dim=1)
    return 1.0 - presence[:, -1], boxes


class ExportedOriented(nn.Module):
    """The network as its card's layout ``oriented_box`` says: one scored box an image.

    The network runs on the image at four quarter turns. The score is the mean of the four; the box of the best view is
    refined. It and the four views' boxes are then fitted to the image, and the one whose contour fits best stays.
    """

    def __init__(self, network: OrientedNetwork) -> None:
        super().__init__()
        self.network = network
        self.search = ContourSearch()
        self.fit = ContourFit()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 1, 200, 200) to (B, 6): score, x, y, yaw in [-pi, pi], width, height."""
        scores, boxes = self.candidates(images)
        starts = torch.cat([boxes, self.search(images, boxes[:, 0])], dim=1)
        return torch.cat([scores[:, None], self.fit(images, starts)], dim=1)

    def candidates(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (B,) and boxes (B, 1 + V, 5): the best view's, refined, then each view's."""
        turned = [images]
        for _ in range(_VIEWS - 1):
            turned.append(_quarter_turn(turned[-1]))
        scores, boxes = likeliest_boxes(*self.network(torch.cat(turned)))
        views = scores.reshape(_VIEWS, -1)
        surest = views.argmax(dim=0)
        boxes = self._turned_back(boxes.reshape(_VIEWS, -1, 5), images.shape[3])
        box = (boxes * (torch.arange(_VIEWS, device=images.device)[:, None] == surest)[:, :, None]).sum(dim=0)
        for _ in range(_REFINEMENTS):
            box = changed(box, self.network.refiner.both_sides(images, box))
        return views.mean(dim=0), torch.cat([box[None], boxes]).transpose(0, 1)

    @staticmethod
    def _turned_back(boxes: Tensor, side: int) -> Tensor:
        """Map the boxes (V, B, 5) of each view to pixels of the image, a square of ``side`` pixels."""
        upright = []
        for turns, view in enumerate(boxes):
            x, y, yaw, width, height = view.unbind(dim=1)
            for _ in range(turns):
                x, y, yaw = side - 1.0 - y, x, yaw + 0.5 * torch.pi
            upright.append(torch.stack([x, y, yaw, width, height], dim=1))
        return torch.stack(upright)


def _quarter_turn(images: Tensor) -> Tensor:
    """Turn images (B, C, S, S) counterclockwise as seen; ``torch.rot90`` has no counterpart in ONNX."""
    return images.transpose(2, 3).flip(2)
