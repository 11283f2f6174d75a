"""Alignment of poses that lack depth with the contour that colour shows: it measures what keypoints measure worst.

The contour of a pose separates the colours of the object from those around it, as does a network's mask of the object.
Lines across the contour measure where the sides change, and the pose moves there, with the keypoints' pose as its prior
(after RBOT, Tjaden et al. 2019, and SRT3D, Stoiber et al. 2022; docs/decisions/0007 and 0009).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from object_pose.core.arrays import Array, Image
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera, undistorted_image
from object_pose.core.pose.confidence import PoseEstimate, log_odds_of_contour, probability
from object_pose.core.pose.contour import Contour, ContourSurface, draw_contour
from object_pose.core.results.detections import VisibleMask

_LEVELS = 16  # of each colour channel
_BLUR = 0.7  # of the colours' histograms, in levels
_LINES = 200
_Rounds = tuple[tuple[int, int], ...]
# A colour image, or what decodes it where a contour is needed.
Colour = Image | Callable[[], Image | None] | None
# How far the lines reach to either side, in pixels, and the iterations with it.
_NEAR: _Rounds = ((10, 3),)
_FAR: _Rounds = ((22, 2), (10, 2))
_LAST: _Rounds = ((7, 3), (5, 2), (4, 2))
# Start poses, as a share of the distance or in the detection's box, with their first rounds; the best one goes on.
# Uncertain keypoints shrink towards their middle, which a box does not.
_IN_BOX = 0.0
_STARTS: tuple[tuple[float, _Rounds], ...] = (
    (1.0, _NEAR),
    (_IN_BOX, _FAR),
    (1.0, _FAR),
    (0.92, _FAR),
    (1.08, _FAR),
)
_BOX_SHARES = (0.7, 1.2)  # of the distance, at least and at most, that a box can ask for
MOST_STARTS = len(_STARTS)
_RING = 5  # the surroundings reach so much further than the lines
_MIN_PIXELS = 60
_MAX_PROBABILITY = 0.9  # of one pixel
# A mask seldom holds too much, but in unfamiliar images often too little: highlights and shadows are missed.
_LEAST_IN_MASK, _MOST_IN_MASK = 0.25, 0.9
_LEAST_VARIANCE = 0.3  # of a line, px^2
_NEIGHBOURS = 4.0  # lines with correlated errors
_OUTLIER = 1.5  # scale of the robust weights, in medians of the distances
_AGREES_PX = 1.5
# Edges are searched this far to either side of the contour, between the colours beyond ``_EDGE_SIDE``.
_EDGE_REACH, _EDGE_SIDE, _EDGE_STEP = 2.5, 1.25, 0.5
_EDGE_ROUNDS = 4
_EDGE_NOISE = 6.0  # of a colour, in levels of 256
_EDGE_VARIANCE = 0.3  # of the sharpest edge, px^2
_LEAST_CONTRAST = 4.0  # squared, in that of the colours to either side
_MAX_TURN_RAD = 0.2
_LEAST_INFORMATION = 1e-6 * np.eye(6)


def read_colour(rgb: Colour) -> Image | None:
    """Return a colour image that may have to be decoded first."""
    return rgb() if callable(rgb) else rgb


class ColourView:
    """One image as an ideal pinhole sees it, (H, W, 3) ``rgb``, and its colours in ``_LEVELS`` levels a channel."""

    def __init__(self, rgb: Image, camera: Camera) -> None:
        rgb = undistorted_image(rgb, camera)
        level = (rgb // (256 // _LEVELS)).astype(np.uint16)
        self.camera, self.rgb = camera, rgb
        self.codes = (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]


@dataclass(frozen=True)
class ContourFit:
    """A pose after alignment, its covariance (6, 6), and the share of its contour where colour changes, too."""

    T_camera_object: Array
    covariance: Array
    agreement: float


@dataclass(frozen=True)
class _Lines:
    """The measurements of N lines: how far outward the change of colour lies, in pixels, and its variance.

    ``information`` is what a line adds to the change being within its reach, 1 / px^2.
    """

    distance: Array
    variance: Array
    information: Array
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class _Prior:
    """The prior of an alignment: a pose and its information (6, 6) of a left perturbation."""

    T_camera_object: Array
    information: Array

    def offset(self, pose: Array) -> Array:
        """Return the perturbation (6,) that leads to ``pose``."""
        turn = se3.log_so3(pose[:3, :3] @ self.T_camera_object[:3, :3].T)
        return np.concatenate([pose[:3, 3] - self.T_camera_object[:3, 3], turn])


def align_contour(
    view: ColourView,
    surface: ContourSurface,
    T_camera_object: Array,
    covariance: Array,
    box_xyxy: Array | None = None,
    starts: int = 1,
    mask: VisibleMask | None = None,
) -> ContourFit | None:
    """Move a pose, known to ``covariance`` (6, 6) of a left perturbation, to where its contour fits the colours.

    There are 1 to ``MOST_STARTS`` start poses, one of which fills ``box_xyxy`` (4,). The box and the visible mask are
    in undistorted pixels. None where the contour cannot be drawn or its inside is too small to have a colour.
    """
    prior = _Prior(T_camera_object, np.asarray(np.linalg.pinv(covariance, hermitian=True)))
    fits = []
    for share, rounds in _STARTS[:starts]:
        if share == _IN_BOX and box_xyxy is not None:
            start = _in_box(T_camera_object, surface, view.camera, box_xyxy)
        else:
            start = se3.make_transform(T_camera_object[:3, :3], (share or 1.0) * T_camera_object[:3, 3])
        fits += [fit] if (fit := _aligned(view, surface, start, prior, rounds, mask)) else []
    if not fits:
        return None
    best = max(fits, key=lambda fit: fit.agreement)
    return _finished(view, surface, best.T_camera_object, prior, mask)


def from_contour(estimate: PoseEstimate, fit: ContourFit) -> PoseEstimate:
    """Describe a pose that keypoints gave and whose contour was aligned since."""
    score = probability(log_odds_of_contour(estimate.score, fit.agreement))
    return replace(estimate, T_camera_object=fit.T_camera_object, covariance=fit.covariance, score=score)


def align_again(
    view: ColourView,
    surface: ContourSurface,
    start: Array,
    T_camera_object: Array,
    covariance: Array,
    mask: VisibleMask | None = None,
) -> ContourFit | None:
    """Align from a ``start`` near the contour, with a better prior; see ``align_contour``."""
    prior = _Prior(T_camera_object, np.asarray(np.linalg.pinv(covariance, hermitian=True)))
    return _finished(view, surface, start, prior, mask)


def _in_box(T_camera_object: Array, surface: ContourSurface, camera: Camera, box_xyxy: Array) -> Array:
    """Return the pose moved along and across its viewing ray until it fills the box."""
    points = se3.apply(T_camera_object, surface.points)
    if points[:, 2].min() <= 0.0:
        return T_camera_object
    pixels = camera.project(points)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    share = np.sqrt(np.prod(high - low) / np.prod(np.maximum(box_xyxy[2:] - box_xyxy[:2], 1.0)))
    translation = np.clip(share, *_BOX_SHARES) * T_camera_object[:3, 3]
    aside = 0.5 * (box_xyxy[:2] + box_xyxy[2:] - low - high) / (camera.fx, camera.fy)
    translation[:2] += aside * translation[2]
    return se3.make_transform(T_camera_object[:3, :3], translation)


def _aligned(
    view: ColourView,
    surface: ContourSurface,
    pose: Array,
    prior: _Prior,
    rounds: _Rounds,
    mask: VisibleMask | None,
) -> ContourFit | None:
    information, lines = prior.information, None
    for reach, steps in rounds:
        for _ in range(steps):
            contour = draw_contour(surface, pose, view.camera, _LINES, reach + _RING)
            lines = _follow(view, contour, reach, mask) if contour else None
            if contour is None or lines is None:
                return None
            pose, information = _stepped(pose, contour, lines, prior, view.camera)
    assert lines is not None
    agrees = lines.known & (np.abs(lines.distance) < _AGREES_PX) & (lines.variance < _AGREES_PX**2)
    covariance = np.asarray(np.linalg.inv(information + _LEAST_INFORMATION), dtype=np.float64)
    return ContourFit(pose, covariance, float(np.mean(agrees)))


def _finished(
    view: ColourView, surface: ContourSurface, start: Array, prior: _Prior, mask: VisibleMask | None
) -> ContourFit | None:
    fit = _aligned(view, surface, start, prior, _LAST, mask)
    return _on_edges(view, surface, fit, prior) if fit else None


def _on_edges(view: ColourView, surface: ContourSurface, fit: ContourFit, prior: _Prior) -> ContourFit:
    """Move a fit to the edges, which histograms place too far inward where they are blurred."""
    pose = fit.T_camera_object
    for _ in range(_EDGE_ROUNDS):
        contour = draw_contour(surface, pose, view.camera, _LINES, _RING)
        if contour is None:
            return fit
        pose, _ = _stepped(pose, contour, _edges(view, contour), prior, view.camera)
    return replace(fit, T_camera_object=pose)


def _stepped(pose: Array, contour: Contour, lines: _Lines, prior: _Prior, camera: Camera) -> tuple[Array, Array]:
    """Return the pose after one step of Gauss-Newton, and the information (6, 6) of the step."""
    information, gradient = _normal_equations(contour, lines, pose, camera)
    information, gradient = information + prior.information, gradient + prior.information @ prior.offset(pose)
    step = np.asarray(np.linalg.solve(information + _LEAST_INFORMATION, gradient), dtype=np.float64)
    return _moved(pose, -step), information


def _edges(view: ColourView, contour: Contour) -> _Lines:
    """Measure along lines across a contour where colour is half way from the inside's to the outside's."""
    steps = np.arange(-_EDGE_REACH, _EDGE_REACH + _EDGE_STEP / 2, _EDGE_STEP)
    places = contour.pixels[:, None] + steps[:, None] * contour.normals[:, None]
    known = np.all((places >= 0.0) & (places <= np.array(view.camera.wh) - 1.0), axis=(1, 2))
    x, y = (axis.astype(np.float32) for axis in (places[..., 0], places[..., 1]))
    colors = cv2.remap(view.rgb, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float64)
    inner, outer, middle = steps <= -_EDGE_SIDE, steps >= _EDGE_SIDE, np.abs(steps) < _EDGE_SIDE
    outside = colors[:, outer].mean(axis=1)
    across = colors[:, inner].mean(axis=1) - outside
    noise = 0.5 * np.sum(colors[:, inner].var(axis=1) + colors[:, outer].var(axis=1), axis=1) + _EDGE_NOISE**2
    contrast = np.sum(across**2, axis=1) / noise
    share = np.sum((colors[:, middle] - outside[:, None]) * across[:, None], axis=2) / (contrast * noise + 1.0)[:, None]
    distance = _EDGE_STEP * np.sum(np.clip(share, 0.0, 1.0) - 0.5, axis=1)
    variance = _EDGE_VARIANCE + 4.0 / np.maximum(contrast, _LEAST_CONTRAST)
    return _Lines(distance, variance, np.where(contrast > _LEAST_CONTRAST, 1.0 / variance, 0.0), known)


def _follow(view: ColourView, contour: Contour, reach: int, mask: VisibleMask | None) -> _Lines | None:
    """Measure along lines across a contour where the sides change; None where the inside is too small."""
    height, width = contour.covered.shape
    left, top = contour.corner
    codes = view.codes[top : top + height, left : left + width]
    probability = _probability_inside(codes, contour.covered, reach)
    if probability is None:
        return None
    if mask:
        probability = _agreed(probability, mask.over(contour.corner, probability.shape))
    steps = np.arange(-reach, reach + 1.0)
    places = contour.pixels[:, None] + steps[:, None] * contour.normals[:, None] - contour.corner
    known = np.all((places >= 0.0) & (places <= (width - 1, height - 1)), axis=(1, 2))
    x, y = (axis.astype(np.float32) for axis in (places[..., 0], places[..., 1]))
    inside = cv2.remap(probability, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = np.clip(inside.astype(np.float64), 1.0 - _MAX_PROBABILITY, _MAX_PROBABILITY)
    # The change lies before the first sample, between two of them or behind the last.
    before, behind = np.log(inside), np.log(1.0 - inside)
    nothing = np.zeros((len(places), 1))
    fit = np.concatenate([nothing, np.cumsum(before, axis=1)], axis=1)
    fit[:, :-1] += np.cumsum(behind[:, ::-1], axis=1)[:, ::-1]
    likely = np.exp(fit - fit.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    changes = np.append(steps - 0.5, steps[-1] + 0.5)
    distance = likely @ changes
    variance = likely @ changes**2 - distance**2 + _LEAST_VARIANCE
    information = np.maximum(1.0 / variance - 1.0 / (np.var(changes) + _LEAST_VARIANCE), 0.0)
    return _Lines(distance, variance, information, known)


def _probability_inside(
    codes: NDArray[np.uint16], covered: NDArray[np.bool_], reach: int
) -> NDArray[np.float32] | None:
    """Return how likely each pixel's colour (h, w) is the object's, by the colours inside and around it."""
    mask = covered.astype(np.uint8)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0
    near = cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0
    ring = cv2.dilate(near.astype(np.uint8), np.ones((2 * reach + _RING, 2 * reach + _RING), np.uint8)) > 0
    outer = ring & ~near
    if min(np.count_nonzero(inner), np.count_nonzero(outer)) < _MIN_PIXELS:
        return None
    own, other = (_histogram(codes[part]) for part in (inner, outer))
    rare = 1e-5
    return ((own + rare) / (own + other + 2.0 * rare)).astype(np.float32)[codes]


def _agreed(by_colour: NDArray[np.float32], by_mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability (h, w) by two independent measurements, each bounded away from 0 and 1."""
    colour = np.clip(by_colour, 1.0 - _MAX_PROBABILITY, _MAX_PROBABILITY)
    mask = np.clip(by_mask, _LEAST_IN_MASK, _MOST_IN_MASK)
    both = colour * mask
    return np.asarray(both / (both + (1.0 - colour) * (1.0 - mask)), dtype=np.float32)


def _histogram(codes: NDArray[np.uint16]) -> Array:
    counts = np.bincount(codes, minlength=_LEVELS**3).reshape((_LEVELS,) * 3)
    return np.asarray(gaussian_filter(counts / len(codes), _BLUR)).reshape(-1)


def _normal_equations(contour: Contour, lines: _Lines, pose: Array, camera: Camera) -> tuple[Array, Array]:
    """Return the information (6, 6) and gradient (6,) of the lines' squared distances, for a left perturbation."""
    points = camera.backproject(contour.pixels, contour.depth_m)
    # How far outward a place on the contour moves, by the motion of its point.
    by_point = np.einsum("ni,nij->nj", contour.normals, camera.projection_jacobian(points))
    by_turn = np.cross(points - pose[:3, 3], by_point)
    jacobian = np.concatenate([by_point, by_turn], axis=1)
    weights = _weights(lines)
    weighted = jacobian * weights[:, None]
    return weighted.T @ jacobian, -weighted.T @ lines.distance


def _weights(lines: _Lines) -> Array:
    """Return the weight of each line: its information, robust to distances far above the median."""
    if not np.any(lines.known):
        return np.zeros(len(lines.distance))
    usual = float(np.median(np.abs(lines.distance[lines.known]))) + 0.5
    outlying = (1.0 + (lines.distance / (_OUTLIER * usual)) ** 2) ** 2
    return np.asarray(lines.known * lines.information / (_NEIGHBOURS * outlying))


def _moved(pose: Array, delta: Array) -> Array:
    turn = delta[3:] * min(1.0, _MAX_TURN_RAD / max(float(np.linalg.norm(delta[3:])), 1e-12))
    return se3.make_transform(se3.exp_so3(turn) @ pose[:3, :3], pose[:3, 3] + delta[:3])
