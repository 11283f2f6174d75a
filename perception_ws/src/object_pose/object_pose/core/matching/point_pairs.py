"""Poses proposed by pairs of oriented points that vote (Drost et al., "Model globally, match locally", 2010).

Each pair of surface points has four numbers that no motion changes: their distance, and the angles between the line
that joins them and their normals. A table tells for each combination of these which pairs of the model have it. For a
point of the scene, each of its neighbours votes for what point of the model it is, and how the model is turned about
the normal there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.kernels import inlined, kernel

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

DISTANCE_BINS, ANGLE_BINS, TURN_BINS = 20, 15, 30
_PEAKS = 3  # of one scene point, at most
_PEAK_SHARE = 0.75  # of the votes of the first
_COSINES = 512  # entries of the table of bins, to either side of a right angle
_BINS = np.minimum(
    np.arccos(np.clip(np.arange(2 * _COSINES + 1) / _COSINES - 1.0, -1.0, 1.0)) * (ANGLE_BINS / math.pi), ANGLE_BINS - 1
).astype(np.int32)
_MOST_LIKE = 400  # pairs of a feature, above which it tells nothing
_NEAREST = 0.08  # of the diameter, below which a pair tells nothing


@dataclass(frozen=True)
class PairTable:
    """The pairs of M model points, ``points`` and ``normals`` (M, 3), by their features.

    ``first`` (E,) is the first point of each pair and ``turns`` (E,) the angle of its second about the first's normal;
    those with the feature f are ``starts[f]`` to ``starts[f + 1]``. ``frames`` (M, 3, 3) have the normal and two
    tangents as columns. ``diameter`` is in metres.
    """

    points: Floats
    frames: Floats
    starts: Ints
    first: Ints
    turns: Floats
    diameter: float

    @classmethod
    def of(cls, points: Array, normals: Array, are_seen_together: NDArray[np.bool_], diameter: float) -> PairTable:
        """Tabulate points and unit normals (M, 3); pairs that no camera sees at once (M, M) are left out."""
        frames = frames_of(normals)
        count = len(points)
        features, turns = np.full((count, count), -1, dtype=np.int32), np.zeros((count, count), dtype=np.float32)
        points32 = np.ascontiguousarray(points, dtype=np.float32)
        _measure_pairs(points32, frames, np.ascontiguousarray(are_seen_together), diameter, _BINS, features, turns)
        rows, columns = np.nonzero(features >= 0)
        values = features[rows, columns]
        order = np.argsort(values, kind="stable")
        starts = np.searchsorted(values[order], np.arange(DISTANCE_BINS * ANGLE_BINS**3 + 1)).astype(np.int32)
        return cls(
            points32,
            frames,
            starts,
            rows[order].astype(np.int32),
            np.ascontiguousarray(turns[rows, columns][order]),
            diameter,
        )

    def vote(self, points: Floats, frames: Floats, references: Ints) -> tuple[Array, Array]:
        """Return poses (N, 4, 4) that pairs of scene ``points`` (S, 3) vote for, and their votes (N,).

        ``frames`` (S, 3, 3) are the points' own, ``references`` (R,) the points that votes are counted at.
        """
        cells = np.floor((points - points.min(axis=0)) / self.diameter).astype(np.int64) + 1
        shape = cells.max(axis=0) + 2
        keys = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
        order = np.argsort(keys, kind="stable")
        begins = np.searchsorted(keys[order], np.arange(int(np.prod(shape)) + 1)).astype(np.int32)
        poses = np.zeros((len(references) * _PEAKS, 4, 4))
        votes = np.zeros(len(references) * _PEAKS)
        count = _vote(
            np.ascontiguousarray(points[order]),
            np.ascontiguousarray(frames[order]),
            np.ascontiguousarray(np.argsort(order)[references].astype(np.int32)),
            np.ascontiguousarray(keys[order]),
            begins,
            int(shape[1]),
            int(shape[2]),
            _BINS,
            self.points,
            self.frames,
            self.starts,
            self.first,
            self.turns,
            self.diameter,
            poses,
            votes,
        )
        return poses[:count], votes[:count]


def frames_of(normals: NDArray[np.floating]) -> Floats:
    """Return frames (N, 3, 3) float32 whose first columns are the unit ``normals`` (N, 3)."""
    normals = np.asarray(normals, dtype=np.float64)
    least = np.abs(normals).argmin(axis=1)
    helper = np.eye(3)[least]
    second = np.cross(normals, helper)
    second /= np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-12)
    return np.ascontiguousarray(np.stack([normals, second, np.cross(normals, second)], axis=2), dtype=np.float32)


@inlined
def _feature(dx: float, dy: float, dz: float, length: float, a: Floats, b: Floats, diameter: float, bins: Ints) -> int:
    """Return the number of a pair's features; ``a`` and ``b`` (3, 3) are the frames of its points."""
    first = (a[0, 0] * dx + a[1, 0] * dy + a[2, 0] * dz) / length
    second = (b[0, 0] * dx + b[1, 0] * dy + b[2, 0] * dz) / length
    between = a[0, 0] * b[0, 0] + a[1, 0] * b[1, 0] + a[2, 0] * b[2, 0]
    i = bins[int((min(max(first, -1.0), 1.0) + 1.0) * _COSINES)]
    j = bins[int((min(max(second, -1.0), 1.0) + 1.0) * _COSINES)]
    k = bins[int((min(max(between, -1.0), 1.0) + 1.0) * _COSINES)]
    d = min(int(length / diameter * DISTANCE_BINS), DISTANCE_BINS - 1)
    return int(((d * ANGLE_BINS + i) * ANGLE_BINS + j) * ANGLE_BINS + k)


@inlined
def _angle(y: float, x: float) -> float:
    """Return atan2 to a hundredth of a radian."""
    ax, ay = abs(x), abs(y)
    ratio = min(ax, ay) / max(max(ax, ay), 1e-12)
    angle = ratio * (0.7853982 + 0.273 * (1.0 - ratio))
    angle = 1.5707963 - angle if ay > ax else angle
    angle = 3.1415927 - angle if x < 0.0 else angle
    return -angle if y < 0.0 else angle


@kernel
def _measure_pairs(
    points: Floats,
    frames: Floats,
    together: NDArray[np.bool_],
    diameter: float,
    bins: Ints,
    features: Ints,
    turns: Floats,
) -> None:
    """Write the features (M, M) and turns (M, M) of all pairs of model points that count."""
    for i in range(len(points)):
        a = frames[i]
        for j in range(len(points)):
            if i == j or not together[i, j]:
                continue
            dx, dy, dz = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
            length = math.sqrt(dx * dx + dy * dy + dz * dz)
            if length < _NEAREST * diameter:
                continue
            features[i, j] = _feature(dx, dy, dz, length, a, frames[j], diameter, bins)
            y = a[0, 1] * dx + a[1, 1] * dy + a[2, 1] * dz
            z = a[0, 2] * dx + a[1, 2] * dy + a[2, 2] * dz
            turns[i, j] = _angle(z, y)


@kernel
def _vote(
    points: Floats,
    frames: Floats,
    references: Ints,
    cells: NDArray[np.int64],
    begins: Ints,
    rows: int,
    columns: int,
    bins: Ints,
    model_points: Floats,
    model_frames: Floats,
    starts: Ints,
    first: Ints,
    turns: Floats,
    diameter: float,
    poses: Array,
    votes: Array,
) -> int:
    """Write the poses and votes of the peaks at each reference point; return how many there are."""
    models = len(model_points)
    counts = np.zeros((models, TURN_BINS), dtype=np.float32)
    found = 0
    scale = TURN_BINS / (2.0 * math.pi)
    nearest, farthest = (_NEAREST * diameter) ** 2, diameter * diameter
    for r in range(len(references)):
        i = references[r]
        a = frames[i]
        counts[:] = 0.0
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        for plane in range(-1, 2):
            for line in range(-1, 2):
                # Three neighbouring cells along the last axis are one run of points.
                cell = cells[i] + (plane * rows + line) * columns
                for j in range(begins[cell - 1], begins[cell + 2]):
                    dx, dy, dz = points[j, 0] - px, points[j, 1] - py, points[j, 2] - pz
                    square = dx * dx + dy * dy + dz * dz
                    if square > farthest or square < nearest:
                        continue
                    feature = _feature(dx, dy, dz, math.sqrt(square), a, frames[j], diameter, bins)
                    begin, end = starts[feature], starts[feature + 1]
                    if begin == end or end - begin > _MOST_LIKE:
                        continue
                    y = a[0, 1] * dx + a[1, 1] * dy + a[2, 1] * dz
                    z = a[0, 2] * dx + a[1, 2] * dy + a[2, 2] * dz
                    turn = _angle(z, y) + 2.0 * math.pi
                    for e in range(begin, end):
                        at = int((turn - turns[e]) * scale)
                        if at >= TURN_BINS:
                            at -= TURN_BINS
                        counts[first[e], at] += 1.0
        best_votes = 0.0
        for peak in range(_PEAKS):
            best = 0.0
            best_row = best_bin = -1
            for m in range(models):
                for b in range(TURN_BINS):
                    c = counts[m, b]
                    if c > best:
                        best, best_row, best_bin = c, m, b
            if best_row < 0 or (peak > 0 and best < _PEAK_SHARE * best_votes) or best < 3.0:
                break
            if peak == 0:
                best_votes = best
            before = counts[best_row, (best_bin - 1) % TURN_BINS]
            after = counts[best_row, (best_bin + 1) % TURN_BINS]
            angle = (best_bin + 0.5 + (after - before) / (before + best + after)) / scale
            counts[best_row, best_bin] = 0.0
            counts[best_row, (best_bin - 1) % TURN_BINS] = 0.0
            counts[best_row, (best_bin + 1) % TURN_BINS] = 0.0
            cosine, sine = math.cos(angle), math.sin(angle)
            m = model_frames[best_row]
            for row in range(3):
                # The scene's frame, turned about the normal, times the model's transposed.
                x = a[row, 0]
                y = cosine * a[row, 1] + sine * a[row, 2]
                z = -sine * a[row, 1] + cosine * a[row, 2]
                for column in range(3):
                    poses[found, row, column] = x * m[column, 0] + y * m[column, 1] + z * m[column, 2]
            for row in range(3):
                shift = 0.0
                for column in range(3):
                    shift += poses[found, row, column] * model_points[best_row, column]
                poses[found, row, 3] = points[i, row] - shift
            poses[found, 3, 3] = 1.0
            votes[found] = best + before + after
            found += 1
    return found
