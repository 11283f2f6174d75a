"""Keyframes: small patches of an object's visible surface as they looked in one frame, with their places on the model.

Patches are kept without their mean brightness, in several levels of an image pyramid, so that they can be compared with
later frames (Lucas and Kanade, 1981; Baker and Matthews, "Lucas-Kanade 20 years on", 2004).
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Image
from object_pose.core.geometry.lens import pixel_of, rotated
from object_pose.core.kernels import inlined, kernel
from object_pose.core.tracking.colour_frame import LEVEL_COUNT, ColourFrame
from object_pose.core.tracking.modality import Objects
from object_pose.core.tracking.occluders import Occluders, is_hidden
from object_pose.core.tracking.view_model import Floats, Ints, ViewTables

PATCHES = 48
PIXELS = 49
LEAST_PATCHES = 6
_HALF = 3  # of a patch's side
SIDE = 2 * _HALF + 1
_FINEST_ACROSS_PX = 200.0  # of a silhouette, in a keyframe's finest level
_MIN_DETERMINANT = 0.15  # of how a patch's extent has changed since its keyframe
_MIN_FACING = 0.35
_CONTOUR_PX = 6.0  # least distance of a patch from the contour
_EDGE_SHARE = 0.02  # of a patch's gradient energy that counts where it has only one direction
_LEAST_TEXTURE = PIXELS * 4.0  # of a patch, in that energy: less is mostly noise
_MIN_DEPTH_M = 0.05

# A keyframe serves views up to so far from its own.
_MOST_ANGLE_RAD = 0.18
_MOST_SCALE = 1.2
_MOST_KEYFRAMES = 12


class Keyframes:
    """The keyframes of all tracks in arrays: S slots of K patches in L levels.

    ``places`` (S, K, 9) are each patch's centre on the model and the steps on the surface that are a pixel of its
    finest level along x and y. ``patches`` (S, L, K, pixels, 3) hold brightness and its slopes along the steps, without
    their means, ``squares`` (S, L, K, 4) the sums of the slopes' products and of the brightness squared, 0 where
    nothing was seen. ``levels`` (S,) are the finest levels. Each was taken at ``rotations`` (S, 3, 3) and a distance.
    """

    def __init__(self, count: int = 8) -> None:
        self.places = np.zeros((count, PATCHES, 9))
        self.patches = np.zeros((count, LEVEL_COUNT, PATCHES, PIXELS, 3), dtype=np.float32)
        self.squares = np.zeros((count, LEVEL_COUNT, PATCHES, 4), dtype=np.float32)
        self.levels = np.zeros(count, dtype=np.int32)
        self._rotations = np.zeros((count, 3, 3))
        self._log_distances = np.zeros(count)
        self._free = list(range(count))
        self._of_tracks: dict[int, list[int]] = {}

    def nearest(self, objects: Objects, i: int) -> tuple[int, bool]:
        """Return the slot of the keyframe that saw an object most alike, or -1, and whether it serves this view."""
        slots = self._of_tracks.get(int(objects.track_ids[i]), ())
        if not slots:
            return -1, False
        traces = self._rotations[slots].reshape(-1, 9) @ objects.rotation[i].ravel()
        apart = np.arccos(np.clip(0.5 * (traces - 1.0), -1.0, 1.0)) / _MOST_ANGLE_RAD
        apart += np.abs(self._log_distances[slots] - _log_distance(objects, i)) / math.log(_MOST_SCALE)
        best = int(np.argmin(apart))
        return slots[best], bool(apart[best] < 1.0)

    def take(self, objects: Objects, i: int, tables: ViewTables, frame: ColourFrame, occluders: Occluders) -> None:
        """Keep how an object looks at its present pose, if enough of its texture is visible."""
        pyramid, slot = frame.pyramid, self._free_slot()
        k, view = int(objects.class_ids[i]), int(objects.views[i])
        across = math.sqrt(tables.areas[k, view]) * frame.lens[0] / max(objects.translation[i, 2], _MIN_DEPTH_M)
        coarser = math.floor(math.log2(max(across / _FINEST_ACROSS_PX, 1.0)))
        self.levels[slot] = min(coarser, len(pyramid.starts) - LEVEL_COUNT)
        taken = _take_keyframe(
            pyramid.pixels,
            pyramid.starts,
            pyramid.shapes,
            frame.lens,
            tables.surfaces[k, tables.visible[k, view, : tables.visible_counts[k, view]]],
            tables.contours[k, view],
            objects.rotation[i],
            objects.translation[i],
            occluders.nearest,
            occluders.depth,
            frame.depth_m,
            i,
            tables.diameters[k],
            self.levels[slot],
            self.places[slot],
            self.patches[slot],
            self.squares[slot],
        )
        if taken < LEAST_PATCHES:
            self._free.append(slot)
            return
        self._rotations[slot], self._log_distances[slot] = objects.rotation[i], _log_distance(objects, i)
        slots = self._of_tracks.setdefault(int(objects.track_ids[i]), [])
        slots.append(slot)
        if len(slots) > _MOST_KEYFRAMES:
            self._free.append(slots.pop(0))

    def drop(self, track: int, slot: int) -> None:
        """Forget one keyframe of a track."""
        self._of_tracks[track].remove(slot)
        self._free.append(slot)

    def forget(self, tracks: Collection[int]) -> None:
        """Forget all keyframes of some tracks."""
        for track in tracks:
            self._free += self._of_tracks.pop(track, [])

    def forget_others(self, tracks: Collection[int]) -> None:
        """Forget all tracks but these."""
        self.forget(self._of_tracks.keys() - set(tracks))

    def _free_slot(self) -> int:
        """Return a free slot, empty."""
        if not self._free:
            count = len(self.levels)
            self._free = list(range(count, 2 * count))
            for name in ("places", "patches", "squares", "levels", "_rotations", "_log_distances"):
                known = getattr(self, name)
                setattr(self, name, np.concatenate([known, np.zeros_like(known)]))
        slot = self._free.pop()
        self.squares[slot] = 0.0
        return slot


def _log_distance(objects: Objects, i: int) -> float:
    return 0.5 * math.log(float(objects.translation[i] @ objects.translation[i]))


@inlined
def sample(
    image: Image,
    x: float,
    y: float,
) -> float:
    """Return an image's brightness between pixels."""
    column, row = int(x), int(y)
    a, b = np.float32(x - column), np.float32(y - row)
    above = np.float32(image[row, column]) * (np.float32(1.0) - a) + np.float32(image[row, column + 1]) * a
    below = np.float32(image[row + 1, column]) * (np.float32(1.0) - a) + np.float32(image[row + 1, column + 1]) * a
    return float(above * (np.float32(1.0) - b) + below * b)


@kernel
def _rank(
    image: Image,
    scale: float,
    lens: Array,
    surface: Floats,
    contour: Floats,
    r: Array,
    t: Array,
    nearest: Ints,
    occluder_depth: Floats,
    measured: DepthImage,
    i: int,
    diameter: float,
    scores: Array,
) -> None:
    """Write how much texture (M,) there is about each surface point, 0 where it is not well visible."""
    height, width = image.shape
    border = np.empty((len(contour), 2))
    for c in range(len(contour)):
        x, y, z = rotated(r, contour[c, 0], contour[c, 1], contour[c, 2])
        z = max(z + t[2], _MIN_DEPTH_M)
        border[c, 0], border[c, 1] = pixel_of(lens, (x + t[0]) / z, (y + t[1]) / z)
    margin = _HALF + 2.0
    for m in range(len(surface)):
        scores[m] = 0.0
        p = surface[m]
        x, y, z = rotated(r, p[0], p[1], p[2])
        x, y, z = x + t[0], y + t[1], z + t[2]
        nx, ny, nz = rotated(r, p[3], p[4], p[5])
        if z < _MIN_DEPTH_M or -(nx * x + ny * y + nz * z) < _MIN_FACING * math.sqrt(x * x + y * y + z * z):
            continue
        u, v = pixel_of(lens, x / z, y / z)
        column, row = int(u / scale + 0.5), int(v / scale + 0.5)
        if not (margin <= column < width - margin and margin <= row < height - margin):
            continue
        if is_hidden(nearest, occluder_depth, measured, i, diameter, u, v, z):
            continue
        apart = 1e12
        for c in range(len(border)):
            apart = min(apart, (border[c, 0] - u) ** 2 + (border[c, 1] - v) ** 2)
        if apart < (_CONTOUR_PX * scale) ** 2:
            continue
        xx, xy, yy = 0.0, 0.0, 0.0
        for dy in range(-_HALF, _HALF + 1):
            for dx in range(-_HALF, _HALF + 1):
                gx = 0.5 * (float(image[row + dy, column + dx + 1]) - float(image[row + dy, column + dx - 1]))
                gy = 0.5 * (float(image[row + dy + 1, column + dx]) - float(image[row + dy - 1, column + dx]))
                xx += gx * gx
                xy += gx * gy
                yy += gy * gy
        least = 0.5 * (xx + yy - math.sqrt((xx - yy) ** 2 + 4.0 * xy * xy))
        scores[m] = least + _EDGE_SHARE * (xx + yy)


@kernel
def patch_window(
    lens: Array,
    r: Array,
    t: Array,
    place: Array,
    scale: float,
    step: float,
    height: int,
    width: int,
    window: Array,
) -> bool:
    """Place a patch in a level of the pyramid; False where it does not fit or its surface has turned away.

    A pixel of the level is ``scale`` of the image's, and one of the patch ``step`` steps of ``place`` (9,). ``window``
    (15,) becomes the centre about the object's origin, its pixel, how a pixel moves with a point in the camera (2, 3),
    and the patch's steps along x and y in pixels (2, 2).
    """
    x, y, z = rotated(r, place[0], place[1], place[2])
    depth = z + t[2]
    if depth < _MIN_DEPTH_M:
        return False
    px, py = (x + t[0]) / depth, (y + t[1]) / depth
    u, v = pixel_of(lens, px, py)
    ux, uy, vx, vy = lens[0], 0.0, 0.0, lens[1]
    if lens[6] != 0.0:
        u1, v1 = pixel_of(lens, px + 1e-3, py)
        u2, v2 = pixel_of(lens, px, py + 1e-3)
        ux, uy, vx, vy = (u1 - u) * 1e3, (u2 - u) * 1e3, (v1 - v) * 1e3, (v2 - v) * 1e3
    by_depth = 1.0 / (depth * scale)
    u, v = u / scale, v / scale
    window[0], window[1], window[2], window[3], window[4] = x, y, z, u, v
    window[5], window[6], window[7] = ux * by_depth, uy * by_depth, -(ux * px + uy * py) * by_depth
    window[8], window[9], window[10] = vx * by_depth, vy * by_depth, -(vx * px + vy * py) * by_depth
    for axis in range(2):
        dx, dy, dz = rotated(r, step * place[3 + 3 * axis], step * place[4 + 3 * axis], step * place[5 + 3 * axis])
        window[11 + 2 * axis] = window[5] * dx + window[6] * dy + window[7] * dz
        window[12 + 2 * axis] = window[8] * dx + window[9] * dy + window[10] * dz
    if window[11] * window[14] - window[12] * window[13] < _MIN_DETERMINANT:
        return False
    reach_x = (_HALF + 1.0) * (abs(window[11]) + abs(window[13])) + 1.0
    reach_y = (_HALF + 1.0) * (abs(window[12]) + abs(window[14])) + 1.0
    return bool(reach_x < u < width - 1.0 - reach_x and reach_y < v < height - 1.0 - reach_y)


@kernel
def _take_patch(
    image: Image,
    window: Array,
    patch: Floats,
    square: Floats,
) -> None:
    """Write brightness and slopes (pixels, 3) of a patch, without their means, and the sums (4,) of their products."""
    u, v = window[3], window[4]
    sums = np.zeros(3)
    for p in range(PIXELS):
        i, j = p % SIDE - _HALF, p // SIDE - _HALF
        x = u + window[11] * i + window[13] * j
        y = v + window[12] * i + window[14] * j
        patch[p, 0] = sample(image, x, y)
        ahead, behind = sample(image, x + window[11], y + window[12]), sample(image, x - window[11], y - window[12])
        patch[p, 1] = 0.5 * (ahead - behind)
        ahead, behind = sample(image, x + window[13], y + window[14]), sample(image, x - window[13], y - window[14])
        patch[p, 2] = 0.5 * (ahead - behind)
        for c in range(3):
            sums[c] += patch[p, c]
    square[:] = 0.0
    for p in range(PIXELS):
        for c in range(3):
            patch[p, c] -= sums[c] / PIXELS
        square[0] += patch[p, 1] * patch[p, 1]
        square[1] += patch[p, 1] * patch[p, 2]
        square[2] += patch[p, 2] * patch[p, 2]
        square[3] += patch[p, 0] * patch[p, 0]


@kernel
def _take_keyframe(
    pixels: NDArray[np.uint8],
    starts: NDArray[np.intp],
    shapes: NDArray[np.intp],
    lens: Array,
    surface: Floats,
    contour: Floats,
    r: Array,
    t: Array,
    nearest: Ints,
    occluder_depth: Floats,
    measured: DepthImage,
    i: int,
    diameter: float,
    finest: int,
    places: Array,
    patches: Floats,
    squares: Floats,
) -> int:
    """Write the patches of a keyframe of object ``i``, those with the most texture, and return how many there are."""
    scale = float(1 << finest)
    image = pixels[starts[finest] : starts[finest] + shapes[finest, 0] * shapes[finest, 1]]
    image = image.reshape((shapes[finest, 0], shapes[finest, 1]))
    scores = np.empty(len(surface))
    _rank(image, scale, lens, surface, contour, r, t, nearest, occluder_depth, measured, i, diameter, scores)
    order = np.argsort(-scores)
    window = np.empty(15)
    count = 0
    for m in order[: len(places)]:
        if scores[m] < _LEAST_TEXTURE:
            break
        p = surface[m]
        x, y, z = rotated(r, p[0], p[1], p[2])
        x, y, z = x + t[0], y + t[1], z + t[2]
        nx, ny, nz = rotated(r, p[3], p[4], p[5])
        place = places[count]
        place[:3] = p[:3]
        height = nx * x + ny * y + nz * z
        for axis in range(2):
            # The rays beside the patch's own meet the surface's plane there.
            rx = x / z + (scale / lens[0] if axis == 0 else 0.0)
            ry = y / z + (scale / lens[1] if axis == 1 else 0.0)
            depth = height / (nx * rx + ny * ry + nz)
            dx, dy, dz = rx * depth - x, ry * depth - y, depth - z
            for c in range(3):
                place[3 + 3 * axis + c] = r[0, c] * dx + r[1, c] * dy + r[2, c] * dz
        for level in range(LEVEL_COUNT):
            start, rows, columns = starts[finest + level], shapes[finest + level, 0], shapes[finest + level, 1]
            step = float(1 << level)
            if patch_window(lens, r, t, place, scale * step, step, rows, columns, window):
                image = pixels[start : start + rows * columns].reshape((rows, columns))
                _take_patch(image, window, patches[level, count], squares[level, count])
        count += 1
    return count
