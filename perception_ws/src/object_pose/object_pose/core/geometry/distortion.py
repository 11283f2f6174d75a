"""Lens distortion as OpenCV and ROS define it, and its inverse, in normalised image coordinates (x / z, y / z).

A polynomial model holds as far as its distorted radius grows. Beyond that radius, which lies outside the field of view
that was calibrated, the mapping goes on as a straight line instead of folding back into the image; so it is one-to-one
everywhere and every point has an inverse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError

NONE, PLUMB_BOB, RATIONAL, EQUIDISTANT = "none", "plumb_bob", "rational_polynomial", "equidistant"
MODEL_COEFFICIENTS: Mapping[str, tuple[int, ...]] = {
    NONE: (0,),
    PLUMB_BOB: (4, 5),
    RATIONAL: (8, 12, 14),
    EQUIDISTANT: (4,),
}
_SAFE_SHARE = 0.99  # of the radius at which a polynomial turns back: its slope is still positive there
_WIDEST_RAD = np.deg2rad(85.0)  # off the axis; nearer 90 degrees a pinhole's pixel is as good as at infinity
_NEGLIGIBLE = 1e-9  # a term that is smaller at the widest angle changes nothing
_TABLE_SIZE = 2048
_ITERATIONS = 60
_CONVERGED = 1e-11


def model_of(coefficients: Sequence[float]) -> str:
    """Return the model that a number of coefficients means where none is named; raises ``CalibrationError``."""
    for model in (NONE, PLUMB_BOB, RATIONAL):
        if len(coefficients) in MODEL_COEFFICIENTS[model]:
            return model
    raise CalibrationError(f"distortion has {len(coefficients)} coefficients, expected 0, 4, 5, 8, 12 or 14")


def reconcile_model(model: str, coefficients: Sequence[float]) -> tuple[str, tuple[float, ...]]:
    """Return the model and coefficients that a driver means who pads with zeros, or calls more coefficients plumb_bob.

    Zeros behind a model's last coefficient are cut; of polynomials the number tells the model, as in OpenCV. Raises
    ``CalibrationError`` where no model has so many.
    """
    counts, given = MODEL_COEFFICIENTS.get(model, ()), tuple(coefficients)
    if not counts or len(given) in counts:
        return model, given
    if len(given) > counts[-1] and not any(given[counts[-1] :]):
        return model, given[: counts[-1]]
    return (model_of(given) if model in (PLUMB_BOB, RATIONAL) else model), given


def check_model(model: str, coefficients: Sequence[float]) -> None:
    """Raise ``CalibrationError`` for a model that is not known, or that has another number of coefficients."""
    counts = MODEL_COEFFICIENTS.get(model)
    if counts is None:
        raise CalibrationError(
            f"distortion_model '{model}' is not known", f"expected one of {', '.join(MODEL_COEFFICIENTS)}"
        )
    if len(coefficients) not in counts:
        expected = " or ".join(str(count) for count in counts)
        raise CalibrationError(f"distortion_model '{model}' has {len(coefficients)} coefficients, expected {expected}")


class Distortion:
    """One lens: ``distort`` maps (N, 2) ideal normalised coordinates to those of the real image, ``undistort`` back.

    Coefficients are OpenCV's: (k1, k2, p1, p2[, k3[, k4, k5, k6[, s1, s2, s3, s4[, tau_x, tau_y]]]]), or the four of
    ``cv2.fisheye``. ``limit`` is the ideal radius up to which the model holds.
    """

    def __init__(self, model: str, coefficients: Sequence[float]) -> None:
        check_model(model, coefficients)
        self._is_fisheye = model == EQUIDISTANT
        self._k = np.zeros(14)
        self._k[: len(coefficients)] = coefficients
        # Numerator and denominator of the radial factor, and their slopes, as polynomials of the squared radius.
        self._above = np.array([*self._k[[4, 1, 0]], 1.0])
        self._below = np.array([*self._k[[7, 6, 5]], 1.0])
        self._above_slope, self._below_slope = np.polyder(self._above), np.polyder(self._below)
        self._tilt = np.eye(3) if self._is_fisheye else tilt(*self._k[12:])
        self._untilt: Array = np.asarray(np.linalg.inv(self._tilt), dtype=np.float64)
        self.limit = self._find_limit()
        self._edge, self._slope = self._radial(np.array(self.limit))
        radii = np.linspace(0.0, self.limit, _TABLE_SIZE)
        self._table = radii, self._radial(radii)[0]

    def distort(self, points: Array) -> Array:
        """Return where ideal points (N, 2) come to lie in the real image."""
        radii = np.linalg.norm(points, axis=-1)
        inside, slope = self._radial(np.minimum(radii, self.limit))
        distorted = inside + slope * np.maximum(radii - self.limit, 0.0)
        scale = np.divide(distorted, radii, out=np.ones_like(radii), where=radii > 0.0)
        return _homography(self._tilt, points * scale[..., None] + self._decentring(points))

    def undistort(self, points: Array) -> Array:
        """Return the ideal points (N, 2) of points in the real image, to convergence."""
        points = _homography(self._untilt, points)
        ideal = self._undo_radial(points)
        if self._is_fisheye or not np.any(self._k[[2, 3, 8, 9, 10, 11]]):
            return ideal
        for _ in range(_ITERATIONS):
            previous, ideal = ideal, self._undo_radial(points - self._decentring(ideal), ideal)
            if np.abs(ideal - previous).max() < _CONVERGED:
                break
        return ideal

    def _radial(self, radii: Array) -> tuple[Array, Array]:
        """Return the distorted radius and its slope at ideal radii within the limit."""
        if self._is_fisheye:
            theta = np.arctan(radii)
            t2 = theta * theta
            k1, k2, k3, k4 = self._k[:4]
            slope = 1.0 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
            return theta * (1.0 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))), slope / (1.0 + radii * radii)
        s = radii * radii
        n, d = np.polyval(self._above, s), np.polyval(self._below, s)
        n_slope, d_slope = np.polyval(self._above_slope, s), np.polyval(self._below_slope, s)
        return radii * n / d, n / d + 2.0 * s * (n_slope * d - n * d_slope) / (d * d)

    def _find_limit(self) -> float:
        """Return the ideal radius up to which the distorted one grows."""
        if self._is_fisheye:
            k1, k2, k3, k4 = self._k[:4]
            turn = np.sqrt(_least_root([9 * k4, 7 * k3, 5 * k2, 3 * k1, 1.0], _WIDEST_RAD**2 / _SAFE_SHARE**2))
            return float(np.tan(_SAFE_SHARE * turn))
        above, below = self._above, self._below
        change: Array = np.polysub(np.polymul(self._above_slope, below), np.polymul(above, self._below_slope))
        slope = np.polyadd(np.polymul(above, below), np.polymul([2.0, 0.0], change))
        farthest = np.tan(_WIDEST_RAD) ** 2
        return float(_SAFE_SHARE * np.sqrt(min(_least_root(slope, farthest), _least_root(below, farthest))))

    def _decentring(self, points: Array) -> Array:
        """Return what tangential and thin-prism terms add at ideal points; beyond the limit, at the limit."""
        if self._is_fisheye:
            return np.zeros_like(points)
        radii = np.linalg.norm(points, axis=-1, keepdims=True)
        points = points * np.minimum(1.0, self.limit / np.maximum(radii, self.limit))
        p1, p2, (s1, s2, s3, s4) = self._k[2], self._k[3], self._k[8:12]
        x, y = points[..., 0], points[..., 1]
        r2 = x * x + y * y
        dx = 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x) + r2 * (s1 + s2 * r2)
        dy = p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y + r2 * (s3 + s4 * r2)
        return np.stack([dx, dy], axis=-1)

    def _undo_radial(self, points: Array, near: Array | None = None) -> Array:
        """Undo the radial part by Newton's method, from points ``near`` the result or from a table of four digits."""
        distorted = np.linalg.norm(points, axis=-1)
        if near is None:
            radii, steps = np.interp(distorted, self._table[1], self._table[0]), 3
        else:
            radii, steps = np.minimum(np.linalg.norm(near, axis=-1), self.limit), 2
        for _ in range(steps):
            reached, slope = self._radial(radii)
            radii = np.clip(radii - (reached - distorted) / slope, 0.0, self.limit)
        radii = np.where(distorted > self._edge, self.limit + (distorted - self._edge) / self._slope, radii)
        scale = np.divide(radii, distorted, out=np.ones_like(radii), where=distorted > 0.0)
        return np.asarray(points * scale[..., None])


def _least_root(polynomial: Sequence[float] | Array, otherwise: float) -> float:
    """Return the least positive real root below ``otherwise``, or that."""
    powers = np.arange(len(polynomial))[::-1]
    scaled = np.asarray(polynomial, dtype=np.float64) * otherwise**powers
    roots = otherwise * np.roots(np.where(np.abs(scaled) < _NEGLIGIBLE, 0.0, scaled))
    real = roots.real[(np.abs(roots.imag) < 1e-9 * np.maximum(1.0, np.abs(roots))) & (roots.real > 0.0)]
    return float(min([*real, otherwise]))


def tilt(tau_x: float, tau_y: float) -> Array:
    """Return the (3, 3) homography of a tilted sensor (Scheimpflug), as OpenCV defines it."""
    about_x = np.array([[1, 0, 0], [0, np.cos(tau_x), np.sin(tau_x)], [0, -np.sin(tau_x), np.cos(tau_x)]])
    about_y = np.array([[np.cos(tau_y), 0, -np.sin(tau_y)], [0, 1, 0], [np.sin(tau_y), 0, np.cos(tau_y)]])
    rotation = about_y @ about_x
    lift = np.array([[rotation[2, 2], 0.0, -rotation[0, 2]], [0.0, rotation[2, 2], -rotation[1, 2]], [0.0, 0.0, 1.0]])
    return np.asarray(lift @ rotation)


def _homography(matrix: Array, points: Array) -> Array:
    if np.array_equal(matrix, np.eye(3)):
        return points
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(mapped[..., :2] / mapped[..., 2:])
