"""What makes the image contradict depth on many objects at once: the cause, and by how much.

Depth beside colour shifts all objects alike, a wrong focal length makes them larger or smaller where they are, and a
time offset shifts them by their own motion. Each cause is fitted robustly to the offsets of many objects; the one that
leaves the least is named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.pose.pnp import tukey_weights
from object_pose.core.results.pose import ImageOffset

_TRUNCATION = 3.0  # sigmas; what is farther off is some other object's error
_STEPS = 10
_LEAST_OBJECTS = 3
_LEAST_SHIFT_PX = 4.0
_LEAST_LOG_SCALE = 0.12
_LEAST_DELAY_S = 0.01
# A cause explains at least this much of the whitened squared residuals an object, on the mean.
_LEAST_GAIN = 2.0
# Two causes that explain as much, but for this share, cannot be told apart: the simpler one is named.
_ALIKE = 0.1
_MOST_OBSERVATIONS = 100
_MAX_MOTION_PX = 100.0


class Cause(str, Enum):
    """Why the image and depth contradict each other."""

    SHIFT = "depth is not aligned to colour"
    SCALE = "wrong intrinsics or unit of depth"
    DELAY = "depth and colour are of different times"


@dataclass(frozen=True)
class Misalignment:
    """The common cause and its parameters: ``SHIFT`` (x, y) in pixels, ``SCALE`` of the size, ``DELAY`` in seconds.

    ``covariance`` is of the parameters, ``objects`` how many observations they are from.
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
            text += f" (+-{max(sigmas.max(), 0.5):.1f} px): align it to colour, or calibrate the two cameras"
        elif self.cause is Cause.SCALE:
            text = f"the image shows objects {np.exp(values[0]):.2f} times as large as depth and camera_info say"
            text += ": wrong focal length, or depth of a wrong scale"
        else:
            when = "before" if values[0] > 0.0 else "after"
            text = (
                f"depth is of {abs(values[0]) * 1e3:.0f} ms (+-{sigmas[0] * 1e3:.0f} ms) {when} colour's: check stamps"
            )
        return f"{self.cause.value}: {text} ({self.objects} objects)"


def find_misalignment(offsets: Sequence[ImageOffset], velocities_px_s: Array) -> Misalignment | None:
    """Return the common cause of many objects' offsets, None where there is none; robust to a minority of outliers.

    ``velocities_px_s`` (N, 2) are the objects' in the image, NaN where they are not known.
    """
    if len(offsets) < _LEAST_OBJECTS:
        return None
    shifts, sigmas = np.array([item.offset_px for item in offsets]), np.array([item.sigma_px for item in offsets])
    scales = np.array([[item.log_scale] for item in offsets])
    scale_sigmas = np.array([item.log_scale_sigma for item in offsets])
    velocities = np.where(np.isfinite(velocities_px_s), velocities_px_s, 0.0)
    size_known = np.isfinite(scale_sigmas)
    found = [
        _fit(Cause.SHIFT, np.tile(np.eye(2), (len(shifts), 1, 1)), shifts, sigmas, _LEAST_SHIFT_PX),
        _fit(
            Cause.SCALE,
            np.ones((size_known.sum(), 1, 1)),
            scales[size_known],
            scale_sigmas[size_known],
            _LEAST_LOG_SCALE,
        ),
        _fit(Cause.DELAY, velocities[..., None], shifts, sigmas, _LEAST_DELAY_S),
    ]
    causes = [item for item in found if item is not None and item[0] >= _LEAST_GAIN]
    if not causes:
        return None
    best = max(gain for gain, _ in causes)
    return next(cause for gain, cause in causes if gain >= (1.0 - _ALIKE) * best)


def _fit(cause: Cause, design: Array, values: Array, sigmas: Array, least: float) -> tuple[float, Misalignment] | None:
    """Fit values (N, D) of ``sigmas`` (N,) by design (N, D, P): the gain an object over no cause, and the cause.

    None where the parameters are smaller than ``least``, or within three sigmas of zero.
    """
    if len(values) < _LEAST_OBJECTS or not np.any(design):
        return None
    if design.shape[1] == design.shape[2]:
        parameters = np.median(values, axis=0)
    else:
        squared = np.sum(design**2, axis=(1, 2))
        moving = squared > 0.0
        ratios = np.einsum("ndp,nd->n", design, values)[moving] / squared[moving]
        parameters = np.array([np.median(ratios)])
    scaled, targets = design / sigmas[:, None, None], values / sigmas[:, None]
    for _ in range(_STEPS):
        weights = tukey_weights(np.linalg.norm(targets - scaled @ parameters, axis=1))
        weighted = scaled * weights[:, None, None]
        information = np.einsum("ndp,ndq->pq", weighted, scaled) + 1e-12 * np.eye(len(parameters))
        parameters = np.linalg.solve(information, np.einsum("ndp,nd->p", weighted, targets))
    covariance = np.linalg.inv(information)
    if np.linalg.norm(parameters) < least or parameters @ information @ parameters < 9.0:
        return None
    gain = _cost(targets) - _cost(targets - scaled @ parameters)
    return gain, Misalignment(cause, parameters, covariance, len(values))


def _cost(whitened: Array) -> float:
    return float(np.mean(np.minimum(np.sum(whitened**2, axis=1), _TRUNCATION**2)))


class MisalignmentMonitor:
    """Collects the offsets of successive frames, and says what they have in common."""

    def __init__(self) -> None:
        self._offsets: deque[ImageOffset] = deque(maxlen=_MOST_OBSERVATIONS)
        self._velocities: deque[Array] = deque(maxlen=_MOST_OBSERVATIONS)
        self._previous: tuple[int, tuple[ImageOffset, ...]] = 0, ()

    def add(self, offsets: tuple[ImageOffset, ...], stamp_ns: int) -> Misalignment | None:
        """Take a frame's offsets, and return the common cause of the latest frames' if there is one."""
        before_ns, before = self._previous
        for offset in offsets:
            self._offsets.append(offset)
            self._velocities.append(_velocity(offset, before, (stamp_ns - before_ns) * 1e-9))
        if offsets:
            self._previous = stamp_ns, offsets
        return find_misalignment(self._offsets, np.array(self._velocities).reshape(-1, 2)) if offsets else None


def _velocity(offset: ImageOffset, before: Sequence[ImageOffset], seconds: float) -> Array:
    """Return how fast the image of an object moves (2,), from the nearest one of the frame before; NaN without one."""
    moves = [offset.center_px - item.center_px for item in before]
    nearest = min(moves, key=lambda move: float(np.linalg.norm(move)), default=None)
    if nearest is None or seconds <= 0.0 or np.linalg.norm(nearest) > _MAX_MOTION_PX:
        return np.full(2, np.nan)
    return np.asarray(nearest / seconds)
