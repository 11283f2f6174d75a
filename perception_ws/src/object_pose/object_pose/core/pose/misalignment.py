"""What makes the image contradict depth on many objects at once: the cause, and by how much.

Depth beside colour shifts all objects alike, a wrong focal length or depth scale puts them at another distance than
their keypoints, and a time offset shifts them by their own motion. Each cause is fitted robustly to the offsets of many
objects; the one that explains most is named (docs/decisions/0013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from object_pose.core.arrays import Array, Mask
from object_pose.core.geometry.linear import factorise, substitute_backward, substitute_forward
from object_pose.core.kernels import for_kernels, kernel
from object_pose.core.pose.gauss_newton import TUKEY_SIGMAS
from object_pose.core.results.pose import ImageOffset

_STEPS, _LEAST_INFORMATION = 10, 1e-12
# A cause is as many sigmas from zero, by as many objects; two that agree by chance are less often so far off.
_LEAST_OBJECTS, _LEAST_SIGMAS, _LEAST_SIGMAS_OF_TWO = 2, 3.0, 4.0
# Squared residuals are cut off at three sigmas: what is farther off is another object's error.
_TRUNCATION = 9.0
# An offset of fewer sigmas is none.
_IN_PLACE = 2.0
# Two causes that explain as much, but for this share, cannot be told apart: the first is named.
_ALIKE = 0.1
_MOST_OBSERVATIONS = 100
# What is seen nearer than this to where an object was seen is that object, unmoved: its error is the same.
_SAME_PLACE_PX = 20.0
_MOST_MOTION_PX = 100.0


class Cause(str, Enum):
    """Why the image and depth contradict each other."""

    SHIFT = "depth is not aligned to colour"
    SCALE = "wrong intrinsics or scale of depth"
    DELAY = "depth and colour are of different times"


@dataclass(frozen=True)
class _Limits:
    """What a cause must reach: ``size`` of its parameters, and ``gain``, the squared residual an object it explains.

    ``common`` is the standard deviation of what all objects of a model have in common: their number does not average it
    out.
    """

    size: float
    gain: float
    common: float


_LIMITS = {
    Cause.SHIFT: _Limits(4.0, 2.0, 1.0),
    Cause.SCALE: _Limits(0.04, 0.5, 0.01),
    Cause.DELAY: _Limits(0.01, 2.0, 0.002),
}


@dataclass(frozen=True)
class Misalignment:
    """The common cause and its parameters with their ``covariance``; ``objects`` agree on it.

    ``SHIFT`` is (x, y) in pixels, ``SCALE`` the log of the distance by keypoints over that by depth, ``DELAY`` seconds
    that colour is later than depth.
    """

    cause: Cause
    parameters: Array
    covariance: Array
    objects: int

    def __str__(self) -> str:
        values, sigmas = self.parameters, np.sqrt(np.diag(self.covariance))
        if self.cause is Cause.SHIFT:
            # The image's offset from depth is the opposite of where depth has moved to.
            text = f"depth lies {-values[0]:+.0f} px in x and {-values[1]:+.0f} px in y from colour"
            text += f" (+-{sigmas.max():.0f} px): align it to colour, or calibrate the two cameras"
        elif self.cause is Cause.SCALE:
            text = f"the image shows objects {np.exp(values[0]):.2f} (+-{sigmas[0]:.2f}) times as far as depth"
            text += ": focal lengths of camera_info, or depth's scale, are wrong by this factor"
        else:
            when = "before" if values[0] > 0.0 else "after"
            text = f"depth is of {abs(values[0]) * 1e3:.0f} ms (+-{sigmas[0] * 1e3:.0f} ms) {when} colour"
            text += ": check their stamps"
        return f"{self.cause.value}: {text} ({self.objects} objects)"


def find_misalignment(offsets: Sequence[ImageOffset], velocities_px_s: Array | None = None) -> Misalignment | None:
    """Return the common cause of many objects' offsets, None where there is none; robust to a minority of outliers.

    ``velocities_px_s`` (N, 2) are the objects' in the image, NaN where they are not known. Without a common cause a
    single object whose offset is certain is believed, unless others are where their poses are.
    """
    if not offsets:
        return None
    shifts, sigmas = np.array([item.offset_px for item in offsets]), np.array([item.sigma_px for item in offsets])
    scales = np.array([[item.log_scale] for item in offsets])
    scale_sigmas = np.array([item.log_scale_sigma for item in offsets])
    found = [
        _fit(Cause.SHIFT, np.tile(np.eye(2), (len(shifts), 1, 1)), shifts, sigmas),
        _fit(Cause.SCALE, np.ones((len(shifts), 1, 1)), scales, scale_sigmas),
    ]
    if velocities_px_s is not None:
        velocities = np.where(np.isfinite(velocities_px_s), velocities_px_s, 0.0)
        found.append(_fit(Cause.DELAY, velocities[..., None], shifts, sigmas))
    causes = [item for item in found if item is not None]
    best = max((gain for gain, _ in causes), default=0.0)
    cause = next((cause for gain, cause in causes if gain >= (1.0 - _ALIKE) * best), None)
    return cause or _shift_of_one(offsets)


def _shift_of_one(offsets: Sequence[ImageOffset]) -> Misalignment | None:
    whole = [item for item in offsets if np.isfinite(item.sigma_px)]
    in_place = sum(bool(np.linalg.norm(item.offset_px) < _IN_PLACE * item.sigma_px) for item in whole)
    certain = [item for item in whole if item.is_certain]
    if not certain or 2 * in_place >= len(whole):
        return None
    farthest = max(certain, key=lambda item: float(np.linalg.norm(item.offset_px)))
    return Misalignment(Cause.SHIFT, farthest.offset_px, farthest.sigma_px**2 * np.eye(2), 1)


def _fit(cause: Cause, design: Array, values: Array, sigmas: Array) -> tuple[float, Misalignment] | None:
    """Fit values (N, D) of ``sigmas`` (N,) by design (N, D, P): the gain an object over no cause, and the cause.

    None where there is no such cause.
    """
    squared = np.sum(design**2, axis=(1, 2))
    telling = np.isfinite(sigmas) & (squared > 0.0)
    design, values, sigmas, squared = design[telling], values[telling], sigmas[telling], squared[telling]
    if len(values) < _LEAST_OBJECTS:
        return None
    limits, size = _LIMITS[cause], design.shape[2]
    # A weighted mean is not farther off than the farthest object alone.
    if np.max(np.sum(values**2, axis=1) / squared) * size < limits.size**2:
        return None
    parameters = _median(np.einsum("ndp,nd->np", design, values) / squared[:, None] * size)
    scaled = for_kernels(design / sigmas[:, None, None], np.float64)
    targets = for_kernels(values / sigmas[:, None], np.float64)
    information = np.zeros((size, size))
    _fit_robustly(scaled, targets, parameters, information)
    if np.linalg.norm(parameters) < limits.size:
        return None
    covariance = np.linalg.inv(information) + limits.common**2 * np.eye(size)
    sigmas_off = np.sqrt(parameters @ np.linalg.solve(covariance, parameters))
    before, after = (np.sum((targets - scaled @ item) ** 2, axis=1) for item in (np.zeros(size), parameters))
    gain = float(np.mean(np.minimum(before, _TRUNCATION) - np.minimum(after, _TRUNCATION)))
    agreeing = int(np.count_nonzero(after < _TRUNCATION))
    least = _LEAST_SIGMAS if agreeing > _LEAST_OBJECTS else _LEAST_SIGMAS_OF_TWO
    if sigmas_off < least or gain < limits.gain:
        return None
    is_common = agreeing >= _LEAST_OBJECTS and 2 * agreeing > len(values)
    return (gain, Misalignment(cause, parameters, covariance, agreeing)) if is_common else None


def _median(values: Array) -> Array:
    """Return the median (P,) of (N, P) values: of a few, numpy's own takes ten times as long."""
    ordered, count = np.sort(values, axis=0), len(values)
    return np.asarray(0.5 * (ordered[(count - 1) // 2] + ordered[count // 2]))


@kernel
def _fit_robustly(design: Array, targets: Array, parameters: Array, information: Array) -> None:
    """Fit parameters (P,) to N whitened targets (N, D) with Tukey's biweight, in place, and tell their information."""
    count, dimensions, size = design.shape
    system, gradient = np.zeros((size, size)), np.zeros(size)
    for _ in range(_STEPS):
        information[:], gradient[:] = 0.0, 0.0
        for n in range(count):
            squared = 0.0
            for d in range(dimensions):
                residual = targets[n, d]
                for p in range(size):
                    residual -= design[n, d, p] * parameters[p]
                squared += residual * residual
            weight = max(1.0 - squared / TUKEY_SIGMAS**2, 0.0) ** 2
            for d in range(dimensions):
                for p in range(size):
                    gradient[p] += weight * design[n, d, p] * targets[n, d]
                    for q in range(size):
                        information[p, q] += weight * design[n, d, p] * design[n, d, q]
        for p in range(size):
            information[p, p] += _LEAST_INFORMATION
        system[:], parameters[:] = information, gradient
        factorise(system)
        substitute_forward(system, parameters)
        substitute_backward(system, parameters)


class MisalignmentMonitor:
    """Collects the offsets of successive frames, and says what they have in common: ``found``, None without a cause."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self.found: Misalignment | None = None
        self._observations: list[tuple[ImageOffset, Array]] = []
        self._previous: tuple[int, tuple[ImageOffset, ...]] = 0, ()

    def add(self, offsets: tuple[ImageOffset, ...], stamp_ns: int) -> Misalignment | None:
        """Take a frame's offsets, and return what the latest ones have in common."""
        if not offsets:
            return self.found
        before_ns, before = self._previous
        seconds = (stamp_ns - before_ns) * 1e-9
        again = are_at_some_of([item for item, _ in self._observations], offsets)
        kept = [item for item, is_again in zip(self._observations, again) if not is_again]
        kept += zip(offsets, _velocities(offsets, before, seconds))
        self._observations, self._previous = kept[-_MOST_OBSERVATIONS:], (stamp_ns, offsets)
        latest, velocities = zip(*self._observations)
        found = find_misalignment(latest, np.array(velocities))
        self.found = found if found and found.objects >= _LEAST_OBJECTS else None
        return self.found


def are_at_some_of(items: Sequence[ImageOffset], offsets: Sequence[ImageOffset]) -> Mask:
    """Return which offsets (N,) are of an object, or of its place, that one of the others is of."""
    centers, others = (np.array([item.center_px for item in each]).reshape(-1, 2) for each in (items, offsets))
    return np.asarray((np.sum((centers[:, None] - others) ** 2, axis=2) < _SAME_PLACE_PX**2).any(axis=1))


def _velocities(offsets: Sequence[ImageOffset], before: Sequence[ImageOffset], seconds: float) -> Array:
    """Return how fast the images of objects move (N, 2), from the nearest one of the frame before; NaN without one."""
    if not before or seconds <= 0.0:
        return np.full((len(offsets), 2), np.nan)
    centers, centers_before = (np.array([item.center_px for item in items]) for items in (offsets, before))
    moves = centers[:, None] - centers_before
    lengths = np.linalg.norm(moves, axis=2)
    rows, nearest = np.arange(len(offsets)), lengths.argmin(axis=1)
    is_near = lengths[rows, nearest] <= _MOST_MOTION_PX
    return np.where(is_near[:, None], moves[rows, nearest] / seconds, np.nan)
