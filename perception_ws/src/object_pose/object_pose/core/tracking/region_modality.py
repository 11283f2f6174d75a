"""Colour as a modality: where the regions inside and outside an object's contour change.

Lines across the contour of the nearest view are read in segments of pixels. The colours that each object and its
surroundings had in earlier frames say how likely a segment is to be the object's, and so how likely each place along a
line is to be where the object ends. The mean and variance of that are what a line measures. RBOT (Tjaden et al., 2019),
SRT3D (Stoiber et al., "SRT3D: a sparse region-based 3D object tracking approach for the real world", 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Image, Mask
from object_pose.core.geometry.lens import pixel_of, rotated
from object_pose.core.kernels import inlined, kernel
from object_pose.core.tracking.colour_frame import ColourFrame
from object_pose.core.tracking.modality import STAGES, Objects, Systems, accumulate
from object_pose.core.tracking.occluders import Occluders, is_hidden
from object_pose.core.tracking.view_model import Floats, Ints, ViewTables

# Pixels in a segment of a line, and standard deviation of what a sharp line measures, in pixels, by stage.
_SCALES = np.array([6, 6, 4, 2, 1, 1], dtype=np.int32)
_DEVIATIONS_PX = np.array([15.0, 10.0, 5.0, 3.0, 1.5, 1.5])
_STRIDES = np.array([2, 2, 2, 2, 1, 1], dtype=np.int32)

_SHIFT = 4  # of 8-bit colours to their bins
_BINS = 1 << 3 * (8 - _SHIFT)
_RARE = 1e-5  # share of a colour that was never seen
_LEARNT_FROM_PX, _LEARNT_TO_PX = 2.5, 20.0  # from the contour, to either side

_PLACES, _WIDTH = 12, 8  # places of a change along a line, and segments around each that tell it
_SEGMENTS = _PLACES + _WIDTH - 1
# Probability s that a segment beside a change is the object's, by its distance from it: a smoothed step. One that looks
# like the object with probability p fits with s p + (1 - s)(1 - p), which is linear in p.
_SMOOTH = 0.5 - 0.43 * np.tanh(np.arange(_WIDTH) - 0.5 * (_WIDTH - 1))
_STEPS = np.stack([1.0 - _SMOOTH, 2.0 * _SMOOTH - 1.0], axis=1).astype(np.float32)
_ANYWHERE = (_PLACES**2 - 1) / 12.0  # variance of a line that says nothing, in segments squared
_LEAST_VARIANCE = 1.0
_LEAST_RUN = 3.0  # segments of object and of background that a line must have
_SEGMENTS_ACROSS = 12.0  # of the silhouette, at least
_INDEPENDENT_PX = 2.5  # spacing of lines whose errors differ
# A line in the last stage agrees with a pose that is at most so far from its change; half a line is of one side
# where its mean probability is at least as given.
_AGREES_PX, _CERTAIN_VARIANCE = 2.0, 4.0
_ONE_SIDE = 0.7
# An edge lies among so many samples to either side of where segments put it, between the sides' samples beyond.
_EDGE_MIDDLE, _EDGE_HALF = 2, 4
_LEAST_CONTRAST = 30.0  # of the sides, in levels of 256
_MIN_DEPTH_M = 0.05
# Columns of the counts.
_LINES, _HIDDEN, _AGREEING, _MISSING, _CLUTTERED, _OUTSIDE, _BEYOND_PX = range(7)
_COLUMNS = 7
# Agreeing lines that tell how far a contour is too large or too small as a whole.
_LEAST_AGREEING, _MARGIN_ROUNDS = 20.0, 3


@dataclass(frozen=True)
class RegionEvidence:
    """What colour says of N poses: shares (N,) of the contour's lines within the image that nothing known hides.

    ``agreeing`` lines change where the pose says; of ``missing`` ones the inside has the colours of the background, and
    of ``cluttered`` ones the outside those of the object. ``lines`` (N,) is their number, ``hidden`` and
    ``outside`` (N,) the shares of all lines that are hidden and that leave the image. ``separability`` (N,), 0 to 1,
    is how much the colours inside and outside differ (one minus their Bhattacharyya coefficient).
    """

    lines: Array
    agreeing: Array
    missing: Array
    cluttered: Array
    hidden: Array
    outside: Array
    separability: Array


class RegionModality:
    """Measures with the colours of a frame; learns those of every track.

    The colours of a track are a row of ``_sides`` (S, 2, bins), shares inside and outside of its contour, and of
    ``_ratios`` (S, bins), how much likelier a colour is inside. ``_margins_px`` (S,) is how far outside of the model's
    contour the camera shows it: blur, an inexact model and hair all make it larger or smaller as a whole.
    """

    def __init__(self, tables: ViewTables) -> None:
        self._tables = tables
        self._rows: dict[int, int] = {}
        self._sides = np.zeros((0, 2, _BINS), dtype=np.float32)
        self._ratios = np.zeros((0, _BINS), dtype=np.float32)
        self._separability = np.zeros(0)
        self._margins_px = np.zeros(0)
        self._is_learnt: Mask = np.zeros(0, dtype=np.bool_)
        self._object_rows = np.zeros(0, dtype=np.intp)
        self._counts = np.zeros((0, _COLUMNS))

    def start(self, objects: Objects) -> None:
        """Find the colours of the tracks of objects."""
        self._object_rows = self._rows_of(objects)
        self._counts = np.zeros((len(objects), _COLUMNS))

    @property
    def has_learnt(self) -> Mask:
        """Whose colours are known (N,) of the objects of the frame."""
        return self._is_learnt[self._object_rows]

    def add(self, objects: Objects, systems: Systems, frame: ColourFrame, occluders: Occluders) -> None:
        """Add the distances of the contours to where their lines change."""
        tables = self._tables
        _add_region(
            frame.rgb,
            frame.depth_m,
            frame.lens,
            occluders.nearest,
            occluders.depth,
            self._ratios,
            self._margins_px,
            self._object_rows,
            tables.diameters,
            tables.areas,
            tables.contours,
            tables.contour_spacings,
            objects.class_ids,
            objects.views,
            objects.stages,
            objects.active,
            objects.rotation,
            objects.translation,
            _SCALES,
            _DEVIATIONS_PX,
            _STRIDES,
            _STEPS,
            systems.information,
            systems.gradient,
            self._counts,
        )

    def learn(self, objects: Objects, which: Mask, rates: Array, frame: ColourFrame, occluders: Occluders) -> None:
        """Mix the colours on either side of the contours of objects into those of their tracks, at ``rates`` (N,).

        Those of tracks that are new, or start again at a rate of 1, are taken as they are.
        """
        tables = self._tables
        _learn_colours(
            frame.rgb,
            frame.depth_m,
            frame.lens,
            occluders.nearest,
            occluders.depth,
            tables.diameters,
            tables.contours,
            objects.class_ids,
            objects.views,
            which,
            objects.rotation,
            objects.translation,
            self._object_rows,
            np.where(self.has_learnt, rates, 1.0),
            self._sides,
            self._ratios,
            self._separability,
        )
        self._is_learnt[self._object_rows[which]] = True

    def learn_margins(
        self, objects: Objects, which: Mask, rates: Array, frame: ColourFrame, occluders: Occluders
    ) -> None:
        """Mix how far outside of their contours objects, whose distances are known, end into those of their tracks.

        What is measured of them in this frame already is used.
        """
        unmeasured = which & (self._counts[:, _LINES] == 0.0)
        if np.any(unmeasured):
            last = np.full_like(objects.stages, STAGES - 1)
            self.add(replace(objects, active=unmeasured, stages=last), Systems.zeros(len(objects)), frame, occluders)
        agreeing = self._counts[:, _AGREEING]
        told = which & (agreeing >= _LEAST_AGREEING)
        beyond_px = self._counts[told, _BEYOND_PX] / agreeing[told]
        self._margins_px[self._object_rows[told]] += rates[told] * beyond_px

    def restart_margins(self, objects: Objects, frame: ColourFrame, occluders: Occluders) -> None:
        """Measure how far outside of their contours objects, whose distances are known, end.

        Only lines that agree with a margin tell of it, so it is measured several times, from where it was.
        """
        every = np.ones(len(objects), dtype=np.bool_)
        self._margins_px[self._object_rows] = 0.0
        for _ in range(_MARGIN_ROUNDS):
            self._counts[:] = 0.0
            self.learn_margins(objects, every, np.ones(len(objects)), frame, occluders)

    def forget_others(self, objects: Objects) -> None:
        """Forget the tracks of other objects."""
        for track in self._rows.keys() - set(objects.track_ids.tolist()):
            del self._rows[track]

    def evidence(self) -> RegionEvidence:
        """Return what colour said in the last round."""
        counts = self._counts
        lines = np.maximum(counts[:, _LINES], 1.0)
        every = np.maximum(counts[:, _LINES] + counts[:, _HIDDEN] + counts[:, _OUTSIDE], 1.0)
        return RegionEvidence(
            lines=counts[:, _LINES].copy(),
            agreeing=counts[:, _AGREEING] / lines,
            missing=counts[:, _MISSING] / lines,
            cluttered=counts[:, _CLUTTERED] / lines,
            hidden=counts[:, _HIDDEN] / every,
            outside=counts[:, _OUTSIDE] / every,
            separability=self._separability[self._object_rows],
        )

    def _rows_of(self, objects: Objects) -> NDArray[np.intp]:
        """Return the rows of the tracks of objects, new ones for those that have none."""
        for track in objects.track_ids.tolist():
            if track not in self._rows:
                self._rows[track] = self._free_row()
        return np.array([self._rows[track] for track in objects.track_ids.tolist()], dtype=np.intp)

    def _free_row(self) -> int:
        """Return a row that no track has."""
        free = set(range(len(self._ratios))) - set(self._rows.values())
        if not free:
            count = max(2 * len(self._ratios), 8)
            free = set(range(len(self._ratios), count))
            for name in ("_sides", "_ratios", "_separability", "_margins_px", "_is_learnt"):
                known = getattr(self, name)
                setattr(
                    self, name, np.concatenate([known, np.zeros((count - len(known), *known.shape[1:]), known.dtype)])
                )
        row = min(free)
        # Colours nobody knows are as likely inside as outside, and measure nothing.
        self._ratios[row], self._separability[row], self._is_learnt[row] = 1.0, 0.0, False
        self._margins_px[row] = 0.0
        return row


@inlined
def _bin(
    rgb: Image,
    y: int,
    x: int,
) -> int:
    """Return the bin of a pixel's colour."""
    bits = 8 - _SHIFT
    r, g, b = int(rgb[y, x, 0]) >> _SHIFT, int(rgb[y, x, 1]) >> _SHIFT, int(rgb[y, x, 2]) >> _SHIFT
    return (r << 2 * bits) | (g << bits) | b


@kernel
def _line(
    lens: Array,
    r: Array,
    t: Array,
    contour: Floats,
    line: Array,
) -> bool:
    """Place a contour point (8,) in the image; False behind the camera and where its normal has no direction there.

    ``line`` (7,) becomes its point about the object's origin and in depth, pixel, and unit normal in the image.
    """
    x, y, z = rotated(r, contour[0], contour[1], contour[2])
    nx, ny, _ = rotated(r, contour[3], contour[4], contour[5])
    line[0], line[1], line[2] = x, y, z
    depth = z + t[2]
    length = math.sqrt(nx * nx + ny * ny)
    if depth < _MIN_DEPTH_M or length < 0.1:
        return False
    px, py = (x + t[0]) / depth, (y + t[1]) / depth
    u, v = pixel_of(lens, px, py)
    a, b = nx / length, ny / length
    if lens[6] != 0.0:  # the lens turns the normal
        u1, v1 = pixel_of(lens, px + 1e-3 * a, py + 1e-3 * b)
        a, b = u1 - u, v1 - v
        length = max(math.sqrt(a * a + b * b), 1e-9)
        a, b = a / length, b / length
    line[3], line[4], line[5], line[6] = u, v, a, b
    return True


@kernel
def _edge(
    rgb: Image,
    x0: float,
    y0: float,
    dx: float,
    dy: float,
    mean: float,
) -> float:
    """Return where along a line of samples its colour is half way from one side's to the other's, near ``mean``.

    The line starts at (x0, y0), and ``mean`` and the result are samples from its middle. Pixels that mix both sides'
    colours are more often like the object's than not, or less often, and move the mean of the segments. Where the sides
    hardly differ the mean stands.
    """
    middle = int(mean + 0.5 * (_SEGMENTS - 1) + 0.5)
    if middle < _EDGE_HALF or middle + _EDGE_HALF >= _SEGMENTS:
        return mean
    square = 0.0
    place = -0.5 * (2 * _EDGE_MIDDLE + 1)
    inner, across = np.zeros(3), np.zeros(3)
    for channel in range(3):
        for k in range(_EDGE_MIDDLE + 1, _EDGE_HALF + 1):
            for side in (-k, k):
                q = middle + side
                value = float(rgb[int(y0 + q * dy + 0.5), int(x0 + q * dx + 0.5), channel])
                inner[channel] += value if side < 0 else 0.0
                across[channel] += -value if side < 0 else value
        inner[channel] /= _EDGE_HALF - _EDGE_MIDDLE
        across[channel] /= _EDGE_HALF - _EDGE_MIDDLE
        square += across[channel] * across[channel]
    if square < _LEAST_CONTRAST * _LEAST_CONTRAST:
        return mean
    for k in range(-_EDGE_MIDDLE, _EDGE_MIDDLE + 1):
        q = middle + k
        row, column = int(y0 + q * dy + 0.5), int(x0 + q * dx + 0.5)
        share = 0.0
        for channel in range(3):
            share += (float(rgb[row, column, channel]) - inner[channel]) * across[channel]
        place += 1.0 - min(max(share / square, 0.0), 1.0)
    return middle + place - 0.5 * (_SEGMENTS - 1)


@kernel
def _add_region(
    rgb: Image,
    measured: DepthImage,
    lens: Array,
    nearest: Ints,
    occluder_depth: Floats,
    ratios: Floats,
    margins_px: Array,
    rows: NDArray[np.intp],
    diameters: Floats,
    areas: Floats,
    contours: Floats,
    contour_spacings: Floats,
    class_ids: NDArray[np.intp],
    views: Ints,
    stages: Ints,
    active: Mask,
    rotations: Array,
    translations: Array,
    scales: Ints,
    deviations_px: Array,
    strides: Ints,
    steps: Floats,
    information: Array,
    gradient: Array,
    counts: Array,
) -> None:
    """Add the systems of all active objects' lines, and count what the lines say anew."""
    height, width = rgb.shape[:2]
    segments = np.empty(_SEGMENTS, dtype=np.float32)
    likely = np.empty(_PLACES, dtype=np.float32)
    line, jacobian = np.empty(7), np.empty(6)
    for i in range(len(class_ids)):
        if not active[i]:
            continue
        k, view = class_ids[i], views[i]
        r, t, ratio = rotations[i], translations[i], ratios[rows[i]]
        px_per_m = lens[0] / max(t[2], _MIN_DEPTH_M)
        across = math.sqrt(areas[k, view]) * px_per_m / _SEGMENTS_ACROSS
        scale = max(1, min(scales[stages[i]], int(across)))
        deviation = deviations_px[stages[i]]
        independent = min(1.0, strides[stages[i]] * contour_spacings[k, view] * px_per_m / _INDEPENDENT_PX)
        samples = _SEGMENTS * scale
        counts[i] = 0.0
        for c in range(0, contours.shape[2], strides[stages[i]]):
            contour = contours[k, view, c]
            if not _line(lens, r, t, contour, line):
                continue
            u, v, a, b = line[3], line[4], line[5], line[6]
            along = 1.0 / max(abs(a), abs(b))
            step_px = scale * along
            run_px = lens[0] / (line[2] + t[2])
            if min(contour[6], contour[7]) * run_px < _LEAST_RUN * step_px:
                continue
            # Samples lie at the centres of pixels of the axis along which the line advances a whole pixel a sample.
            dx, dy = a * along, b * along
            half = 0.5 * (samples - 1)
            if abs(a) >= abs(b):
                shift = (math.floor(u - half * dx + 0.5) - (u - half * dx)) / dx
            else:
                shift = (math.floor(v - half * dy + 0.5) - (v - half * dy)) / dy
            x0, y0 = u + (shift - half) * dx, v + (shift - half) * dy
            x1, y1 = x0 + (samples - 1) * dx, y0 + (samples - 1) * dy
            if min(x0, x1) < 0.0 or max(x0, x1) > width - 1.0 or min(y0, y1) < 0.0 or max(y0, y1) > height - 1.0:
                counts[i, _OUTSIDE] += 1.0
                continue
            z = line[2] + t[2]
            if is_hidden(nearest, occluder_depth, measured, i, diameters[k], u, v, z) or is_hidden(
                nearest, occluder_depth, measured, i, diameters[k], u + 2.0 * a, v + 2.0 * b, z
            ):
                counts[i, _HIDDEN] += 1.0
                continue
            for s in range(_SEGMENTS):
                odds = np.float32(1.0)
                for q in range(s * scale, (s + 1) * scale):
                    odds *= ratio[_bin(rgb, int(y0 + q * dy + 0.5), int(x0 + q * dx + 0.5))]
                segments[s] = odds / (np.float32(1.0) + odds)
            total = np.float32(0.0)
            for place in range(_PLACES):
                product = np.float32(1.0)
                for w in range(_WIDTH):
                    product *= steps[w, 0] + steps[w, 1] * segments[place + w]
                likely[place] = product
                total += product
            mean, square = 0.0, 0.0
            for place in range(_PLACES):
                offset, share = place - 0.5 * (_PLACES - 1), float(likely[place] / total)
                mean += share * offset
                square += share * offset * offset
            variance = max(float(square - mean * mean), _LEAST_VARIANCE)
            if scale == 1:
                mean = _edge(rgb, x0, y0, dx, dy, mean)
            distance = mean * step_px + shift * along - margins_px[rows[i]]
            weight = independent * max(1.0 / variance - 1.0 / _ANYWHERE, 0.0) / (deviation * deviation)
            fx, fy = a * lens[0] / z, b * lens[1] / z
            fz = -(fx * (line[0] + t[0]) + fy * (line[1] + t[1])) / z
            jacobian[0], jacobian[1], jacobian[2] = fx, fy, fz
            jacobian[3] = line[1] * fz - line[2] * fy
            jacobian[4] = line[2] * fx - line[0] * fz
            jacobian[5] = line[0] * fy - line[1] * fx
            accumulate(weight, distance, jacobian, information[i], gradient[i])
            counts[i, _LINES] += 1.0
            if abs(distance) < _AGREES_PX and variance < _CERTAIN_VARIANCE:
                counts[i, _AGREEING] += 1.0
                counts[i, _BEYOND_PX] += distance
            else:
                inner, outer = 0.0, 0.0
                for s in range(_SEGMENTS // 2):
                    inner += segments[s]
                    outer += segments[_SEGMENTS - 1 - s]
                if inner < (1.0 - _ONE_SIDE) * (_SEGMENTS // 2):
                    counts[i, _MISSING] += 1.0
                elif outer > _ONE_SIDE * (_SEGMENTS // 2):
                    counts[i, _CLUTTERED] += 1.0


@kernel
def _learn_colours(
    rgb: Image,
    measured: DepthImage,
    lens: Array,
    nearest: Ints,
    occluder_depth: Floats,
    diameters: Floats,
    contours: Floats,
    class_ids: NDArray[np.intp],
    views: Ints,
    which: Mask,
    rotations: Array,
    translations: Array,
    rows: NDArray[np.intp],
    rates: Array,
    all_sides: Floats,
    ratios: Floats,
    separability: Array,
) -> None:
    """Mix the colours along the lines of objects in ``which`` (N,) into the rows of their tracks, at ``rates`` (N,)."""
    height, width = rgb.shape[:2]
    line, counts = np.empty(7), np.empty((2, _BINS), dtype=np.float32)
    for i in range(len(class_ids)):
        if not which[i]:
            continue
        counts[:] = np.float32(0.0)
        k, view, row = class_ids[i], views[i], rows[i]
        for c in range(contours.shape[2]):
            contour = contours[k, view, c]
            if not _line(lens, rotations[i], translations[i], contour, line):
                continue
            u, v, a, b, z = line[3], line[4], line[5], line[6], line[2] + translations[i, 2]
            if not (0.0 <= u < width - 1.0 and 0.0 <= v < height - 1.0) or is_hidden(
                nearest, occluder_depth, measured, i, diameters[k], u, v, z
            ):
                continue
            along = 1.0 / max(abs(a), abs(b))
            for side in range(2):
                direction = -1.0 if side == 0 else 1.0
                reach = min(_LEARNT_TO_PX, contour[6 + side] * lens[0] / z - _LEARNT_FROM_PX)
                at = _LEARNT_FROM_PX
                while at <= reach:
                    x, y = u + direction * at * a + 0.5, v + direction * at * b + 0.5
                    if not (0.0 <= x < width and 0.0 <= y < height):
                        break
                    counts[side, _bin(rgb, int(y), int(x))] += np.float32(1.0)
                    at += along
        common = 0.0
        for side in range(2):
            total = max(counts[side].sum(), np.float32(1.0))
            for colour in range(_BINS):
                known = all_sides[row, side, colour]
                all_sides[row, side, colour] = known + rates[i] * (counts[side, colour] / total - known)
        for colour in range(_BINS):
            inside, outside = all_sides[row, 0, colour], all_sides[row, 1, colour]
            ratios[row, colour] = (inside + _RARE) / (outside + _RARE)
            common += math.sqrt(inside * outside)
        separability[row] = 1.0 - common
