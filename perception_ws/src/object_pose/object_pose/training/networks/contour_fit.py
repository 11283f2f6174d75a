"""Boxes fitted to the image: among many contours of the spaceship, the one that is likeliest as the generator draws it.

A hypothesis is (x, y, yaw, width, height, tail): the box in pixels and radians, and how deep the chevron's tail is
notched, as a share of the height. Yaw is the network's: the nose points to (-sin yaw, cos yaw). The generator's own
distributions measure it; nothing here is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from object_pose.simulation.generators.spaceship import ASPECT, IMAGE_SIZE, LINES, MARGIN, NOISE_LEVEL, TAIL, WIDTHS

# Two uniform points are 7/15 of the side apart, along the axis in which they are further apart: so long is a line.
LINE_SHARE = LINES * 7 / 15 / IMAGE_SIZE
# The logarithm of how likely an edge, from end to end, is one of the random lines. Counting all pairs of ends gives
# -19, but those lines are in use elsewhere in the image: docs/decisions/0005 has what other values give.
_LOG_LINE = -30.0
# An edge is read at so many pixels at most, and as a longer line so many pixels beyond either end.
_EDGE_PIXELS = 64
_BEYOND = 24
# Edges are read up to so far outside of the image, where nothing speaks for or against a contour.
_MARGIN = 64
# A tail's notch is so many deviations off its mean at most: one near the nose would count the long edges twice.
_TAIL_DEVIATIONS = 3.5
# How far hypotheses lie apart at scale 1, about the error of the refined box.
_SPREAD = (1.5, 1.5, 0.06, 2.0, 3.0, 0.08)
# The first hypotheses of a start, their scale and the window over which they see the image's ratios averaged.
_FIRST = (512, 2.0, 3)
# The same of each round after it: how many of the best stay, and each of them has so many neighbours.
_KEPT, _NEIGHBOURS = 16, 16
_ROUNDS = ((0.8, 3), (0.6, 1), (0.5, 1), (0.4, 1), (0.3, 1), (0.25, 1), (0.2, 1), (0.12, 1))
# After so many of these rounds only the best supported starts go on.
_STARTS_AFTER, _STARTS = 3, 8


class ContourFit(nn.Module):
    """Moves several boxes, each on its own, to where the image supports a contour most, and keeps the best.

    The hypotheses' offsets are drawn once, from a fixed seed: the same image always gives the same box.
    """

    first: Tensor
    neighbours: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        count, scale, _ = _FIRST
        spread = torch.tensor(_SPREAD)
        first = torch.randn(count, 6, generator=generator) * scale * spread
        first[0] = 0.0
        scales = torch.tensor([scale for scale, _ in _ROUNDS])[:, None, None]
        neighbours = torch.randn(len(_ROUNDS), _NEIGHBOURS, 6, generator=generator) * scales * spread
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("neighbours", neighbours, persistent=False)

    def forward(self, images: Tensor, starts: Tensor) -> Tensor:
        """Return the best box (B, 5) of images (B, 1, S, S) that is near one of the starts (B, C, 5)."""
        ratios = log_ratios(images)
        averaged = {window: _averaged(ratios, window) for window in (_FIRST[2], *(window for _, window in _ROUNDS))}
        tail = torch.full_like(starts[..., :1], TAIL[0])
        hypotheses = _around(_on_grid(torch.cat([starts, tail], dim=2))[:, :, None], self.first)
        window = _FIRST[2]
        for number, ((_, following), offsets) in enumerate(zip(_ROUNDS, self.neighbours)):
            supports = support(averaged[window], hypotheses)
            if number == _STARTS_AFTER:
                supports, hypotheses = _best_starts(supports, hypotheses)
            kept = _best(supports, hypotheses, _KEPT)
            hypotheses = torch.cat([kept, _around(kept, offsets)], dim=2)
            window = following
        supports = support(averaged[window], hypotheses)
        boxes = _mean(supports, hypotheses)
        lone = lone_support(ratios, _best(supports, hypotheses, 1))[:, :, 0]
        chosen = torch.arange(lone.shape[1], device=lone.device) == lone.argmax(dim=1, keepdim=True)
        return (boxes * chosen[:, :, None]).sum(dim=1)


def log_ratios(images: Tensor) -> Tensor:
    """Return how much more often the contour than anything else has each pixel's value: log densities (B, S, S).

    The contour is the greater of a uniform value and the noise, the rest noise and, at some pixels, lines like it.
    """
    values = images[:, 0]
    rising = 2.0 * values
    ratio = rising / ((1.0 - LINE_SHARE) + LINE_SHARE * rising)
    return torch.where(values < NOISE_LEVEL, ratio.clamp(min=1e-3), torch.full_like(values, 1.0 / LINE_SHARE)).log()


def corners(hypotheses: Tensor) -> Tensor:
    """Return the pixels (..., 4, 2) of nose, one wing, tail and the other wing of hypotheses (..., 6)."""
    x, y, yaw, width, height, tail = hypotheses[..., None].unbind(dim=-2)
    none = torch.zeros_like(width)
    across = torch.cat([none, -0.5 * width, none, 0.5 * width], dim=-1)
    along = torch.cat([0.5 * height, -0.5 * height, (tail - 0.5) * height, -0.5 * height], dim=-1)
    cosine, sine = yaw.cos(), yaw.sin()
    return torch.stack([cosine * across - sine * along + x, sine * across + cosine * along + y], dim=-1).round()


def contour_pixels(hypotheses: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels (..., 4, K, 2) of the edges of hypotheses (..., 6), and which of them (..., 4, K) are drawn."""
    edges = _Edges(hypotheses)
    distances, drawn = edges.drawn()
    return torch.stack(edges.pixels(distances), dim=-1), drawn


def support(ratios: Tensor, hypotheses: Tensor) -> Tensor:
    """Return the log of how much more likely the image is (B, C, N) with a contour as hypotheses (B, C, N, 6) say.

    Height and tail are as likely as the generator draws them.
    """
    return _Edges(hypotheses).summed(ratios).sum(dim=3) + _log_prior(hypotheses)


def lone_support(ratios: Tensor, hypotheses: Tensor) -> Tensor:
    """The same as ``support``, where each edge may as well be a piece of one of the image's random lines.

    A line goes on beyond the edge; a contour does not.
    """
    edges = _Edges(hypotheses)
    alone = edges.summed(ratios)
    return (alone - nn.functional.softplus(alone + edges.log_lines(ratios))).sum(dim=3) + _log_prior(hypotheses)


class _Edges:
    """The four edges (B, C, N, 4) of hypotheses, one value a pixel of their greater extent, as they are drawn."""

    def __init__(self, hypotheses: Tensor) -> None:
        reach = _MARGIN - _BEYOND
        start = corners(hypotheses).clamp(-reach, IMAGE_SIZE - 1 + reach)
        step = torch.cat([start[..., 1:, :], start[..., :1, :]], dim=-2) - start
        self._length = step.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)
        self._step = step / self._length
        self._stride = (self._length / _EDGE_PIXELS).clamp(min=1.0)
        # Halfway between two pixels the generator has already taken the step.
        self._start = start + 1e-3 * self._step.sign()

    def drawn(self) -> tuple[Tensor, Tensor]:
        """Return distances (..., K) along the edges, and which of them lie before an edge's end."""
        distances = torch.arange(_EDGE_PIXELS, device=self._stride.device) * self._stride
        return distances.minimum(self._length), distances < self._length - 0.5 * self._stride

    def pixels(self, distances: Tensor, origin: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return x and y (..., 4, K), counted from ``origin``, of the pixels at distances along the greater extents."""
        x, y = ((self._start[..., i, None] + origin + distances * self._step[..., i, None]).round() for i in (0, 1))
        return x, y

    def summed(self, ratios: Tensor) -> Tensor:
        """Return the sum of the ratios (B, S, S) on each edge without its end."""
        distances, drawn = self.drawn()
        return (self._read(ratios, distances) * drawn).sum(dim=-1) * self._stride[..., 0]

    def log_lines(self, ratios: Tensor) -> Tensor:
        """Return the log of how likely one line covers each edge and goes on, be it by no pixel, beyond its ends."""
        distances = torch.arange(1, _BEYOND + 1, device=ratios.device)
        after = self._read(ratios, self._length - 1.0 + distances).cumsum(dim=-1)
        before = self._read(ratios, 0.0 - distances).cumsum(dim=-1)
        none = torch.zeros_like(after[..., :1])
        sums = [torch.cat([none, side], dim=-1).logsumexp(dim=-1) for side in (before, after)]
        return sums[0] + sums[1] + _LOG_LINE

    def _read(self, ratios: Tensor, distances: Tensor) -> Tensor:
        """Read ratios (B, S, S) at pixels (B, C, N, 4, K) along the edges, zero outside of the image."""
        wide = nn.functional.pad(ratios, (_MARGIN, _MARGIN, _MARGIN, _MARGIN))
        x, y = self.pixels(distances, float(_MARGIN))
        places = (y * wide.shape[2] + x).long()
        return wide.flatten(1).gather(1, places.flatten(1)).reshape(places.shape)


def _log_prior(hypotheses: Tensor) -> Tensor:
    aspect = (hypotheses[..., 4] / hypotheses[..., 3] - ASPECT[0]) / ASPECT[1]
    tail = (hypotheses[..., 5] - TAIL[0]) / TAIL[1]
    return -0.5 * (aspect**2 + tail**2)


def _on_grid(hypotheses: Tensor) -> Tensor:
    """Round to 1/64, so that what differs in the last bit starts at the same place."""
    return (hypotheses * 64.0).round() / 64.0


def _around(hypotheses: Tensor, offsets: Tensor) -> Tensor:
    """Return hypotheses (B, C, N, 6) moved by each of the offsets (K, 6), across and along them: (B, C, N * K, 6).

    Centre, width and tail stay where the generator draws them.
    """
    reach = _TAIL_DEVIATIONS * TAIL[1]
    start = hypotheses[:, :, :, None]
    cosine, sine = start[..., 2].cos(), start[..., 2].sin()
    x = start[..., 0] + cosine * offsets[:, 0] - sine * offsets[:, 1]
    y = start[..., 1] + sine * offsets[:, 0] + cosine * offsets[:, 1]
    rest = start[..., 2:] + offsets[:, 2:]
    place = torch.stack([x, y], dim=-1).clamp(MARGIN, IMAGE_SIZE - MARGIN - 1)
    width = rest[..., 1:2].clamp(*WIDTHS)
    tail = rest[..., 3:].clamp(TAIL[0] - reach, TAIL[0] + reach)
    return torch.cat([place, rest[..., :1], width, rest[..., 2:3], tail], dim=-1).flatten(2, 3)


def _averaged(ratios: Tensor, window: int) -> Tensor:
    """Return the log ratios where the contour passes through some pixel of a window, no matter which."""
    if window == 1:
        return ratios
    likelihoods = ratios.exp()[:, None]
    averaged = nn.functional.avg_pool2d(likelihoods, window, stride=1, padding=window // 2, count_include_pad=False)
    return averaged[:, 0].log()


def _best(supports: Tensor, hypotheses: Tensor, count: int) -> Tensor:
    """Return the ``count`` best supported of hypotheses (B, C, N, 6) of each start."""
    indices = supports.topk(count, dim=2).indices
    return hypotheses.gather(2, indices[..., None].expand(-1, -1, -1, 6))


def _best_starts(supports: Tensor, hypotheses: Tensor) -> tuple[Tensor, Tensor]:
    """Return supports (B, C, N) and hypotheses (B, C, N, 6) of the starts whose best hypotheses are best supported."""
    best = supports.amax(dim=2).topk(min(_STARTS, supports.shape[1]), dim=1).indices[..., None]
    kept = hypotheses.gather(1, best[..., None].expand(-1, -1, *hypotheses.shape[2:]))
    return supports.gather(1, best.expand(-1, -1, supports.shape[2])), kept


def _mean(supports: Tensor, hypotheses: Tensor) -> Tensor:
    """Return the likely mean box (B, C, 5) of hypotheses (B, C, N, 6), yaw in [-pi, pi]."""
    weights = supports.softmax(dim=2)
    yaw = hypotheses[..., 2]
    turn = torch.atan2((weights * yaw.sin()).sum(dim=2), (weights * yaw.cos()).sum(dim=2))
    x, y, width, height = ((weights * hypotheses[..., i]).sum(dim=2) for i in (0, 1, 3, 4))
    return torch.stack([x, y, turn, width, height], dim=2)
