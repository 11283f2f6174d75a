"""Texture as a modality: patches of the surface as they looked in an earlier frame.

A keyframe holds small patches of an object's visible surface, each with its place and extent on the model, so that a
pose says where and how the image should show it. Patches are compared without their mean brightness and contrast, and
their gradients say how the pose must move (Lucas and Kanade, 1981; Baker and Matthews, "Lucas-Kanade 20 years on",
2004). Texture hardly drifts, but repeats the error of its keyframe's pose: what the other modalities say of the pose
moves the keyframe's places, too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Image, Mask
from object_pose.core.frame import CameraFrame
from object_pose.core.geometry import se3
from object_pose.core.kernels import inlined, kernel
from object_pose.core.tracking.lens import lens_of, pixel_of
from object_pose.core.tracking.modality import Objects, Systems
from object_pose.core.tracking.occluders import Occluders, is_hidden
from object_pose.core.tracking.view_model import Floats, Ints, ViewTables

# Levels of the image pyramid above a keyframe's finest, by stage.
_LEVELS = np.array([3, 2, 2, 1, 0, 0], dtype=np.int32)
_LEVEL_COUNT = 4
_LEVELS_AT_WIDTH = 640  # of an image, which has as many levels
_FINEST_ACROSS_PX = 200.0  # of a silhouette, in a keyframe's finest level

_PATCHES = 48
_HALF = 3  # of a patch's side
_SIDE = 2 * _HALF + 1
_PIXELS = _SIDE * _SIDE
_NOISE = 60.0  # of a pixel in a patch, in levels of 256: neighbours repeat each other's errors
_MIN_CORRELATION = 0.3
_MATCHED = 0.7  # correlation of a patch that shows what it should
_MIN_DETERMINANT = 0.15  # of how a patch's extent has changed since its keyframe
_MIN_FACING = 0.35
_CONTOUR_PX = 6.0  # least distance of a patch from the contour
_EDGE_SHARE = 0.02  # of a patch's gradient energy that counts where it has only one direction
_LEAST_TEXTURE = _PIXELS * 4.0  # of a patch, in that energy: less is mostly noise
_LEAST_CONTRAST = _PIXELS * 9.0  # of a patch whose match tells: noise of three levels of 256 has as much
_LEAST_PATCHES = 6

# A keyframe serves views up to so far from its own, and a new one is taken where texture matches less than this.
_MOST_ANGLE_RAD = 0.18
_MOST_SCALE = 1.2
_LEAST_MATCHED = 0.3
_MOST_KEYFRAMES = 12
_CORRECTION = 0.3  # share of the disagreement with the other modalities that moves a keyframe's places
_CORRECTION_INFORMATION = np.diag([3e3, 3e3, 3e3, 1e2, 1e2, 1e2])
_MIN_DEPTH_M = 0.05

# Columns of the counts.
_VISIBLE, _MATCHING = range(2)


@dataclass(frozen=True)
class TextureEvidence:
    """What texture says of N poses: how many patches with contrast are visible (N,), and which share (N,) matches."""

    patches: Array
    matching: Array


@dataclass(frozen=True)
class _Keyframe:
    """Where a track's patches are kept, and the pose they were taken at."""

    slot: int
    rotation: Array
    distance: float


class _Pool:
    """Keyframes of all tracks in arrays: S slots of K patches in L levels.

    ``places`` (S, K, 9) are each patch's centre on the model and the steps on the surface that are a pixel of its
    finest level along x and y. ``patches`` (S, L, K, pixels, 3) hold brightness and its slopes along the steps, without
    their means, ``squares`` (S, L, K, 4) the sums of the slopes' products and of the brightness squared, 0 where
    nothing was seen. ``levels`` (S,) are the finest levels.
    """

    def __init__(self, count: int = 8) -> None:
        self.places = np.zeros((count, _PATCHES, 9))
        self.patches = np.zeros((count, _LEVEL_COUNT, _PATCHES, _PIXELS, 3), dtype=np.float32)
        self.squares = np.zeros((count, _LEVEL_COUNT, _PATCHES, 4), dtype=np.float32)
        self.levels = np.zeros(count, dtype=np.int32)
        self._free = list(range(count))

    def take(self) -> int:
        """Return a free slot, empty."""
        if not self._free:
            count = len(self.levels)
            self._free = list(range(count, 2 * count))
            for name in ("places", "patches", "squares", "levels"):
                known = getattr(self, name)
                setattr(self, name, np.concatenate([known, np.zeros_like(known)]))
        slot = self._free.pop()
        self.squares[slot] = 0.0
        return slot

    def give_back(self, slot: int) -> None:
        """Free a slot."""
        self._free.append(slot)


class TextureModality:
    """Measures with the brightness of a frame; keeps keyframes of every track."""

    def __init__(self, tables: ViewTables) -> None:
        self._tables, self._pool = tables, _Pool()
        self._keyframes: dict[int, list[_Keyframe]] = {}
        self._rgb: Image = np.zeros((1, 1, 3), dtype=np.uint8)
        self._of_frame: _Pyramid | None = None
        self._measured_depth = np.zeros((0, 0), dtype=np.float32)
        self._lens = np.zeros(0)
        self._slots = np.zeros(0, dtype=np.int32)
        self._counts = np.zeros((0, 2))
        self._own = Systems.zeros(0)

    def start(self, frame: CameraFrame, objects: Objects) -> bool:
        """Take the frame's brightness; False where it has no colour."""
        if frame.rgb is None:
            return False
        self._take(frame)
        self._slots = np.array([self._nearest(objects, i) for i in range(len(objects))], dtype=np.int32)
        self._counts = np.zeros((len(objects), 2))
        self._own = Systems.zeros(len(objects))
        return True

    def add(self, objects: Objects, systems: Systems) -> None:
        """Add how far the patches of each object's nearest keyframe lie from where the image shows them."""
        self._own.clear()
        pool, pyramid = self._pool, self._pyramid
        _add_texture(
            pyramid.pixels,
            pyramid.starts,
            pyramid.shapes,
            self._lens,
            pool.places,
            pool.patches,
            pool.squares,
            pool.levels,
            self._slots,
            _LEVELS,
            objects.stages,
            objects.active,
            objects.rotation,
            objects.translation,
            self._own.information,
            self._own.gradient,
            self._counts,
        )
        systems.information += self._own.information
        systems.gradient += self._own.gradient

    def finish(self, objects: Objects, is_tracked: Mask) -> None:
        """Correct the keyframes of the objects that were tracked, add new ones, and forget tracks that are no more."""
        evidence = self.evidence()
        wants_new = []
        for i in np.flatnonzero(is_tracked).tolist():
            slot = int(self._slots[i])
            if evidence.matching[i] >= _LEAST_MATCHED:
                self._correct(objects, i, slot)
            elif evidence.patches[i] >= _LEAST_PATCHES:
                self._drop(int(objects.track_ids[i]), slot)
            if self._nearest(objects, i, within=True) < 0:
                wants_new.append(i)
        self._keep(objects, wants_new)
        for track in self._keyframes.keys() - set(objects.track_ids.tolist()):
            for keyframe in self._keyframes.pop(track):
                self._pool.give_back(keyframe.slot)

    def learn(self, frame: CameraFrame, objects: Objects) -> None:
        """Take keyframes of new tracks, or of tracks found anew, from a frame whose poses are known."""
        if frame.rgb is not None:
            for track in objects.track_ids.tolist():
                for keyframe in self._keyframes.pop(track, []):
                    self._pool.give_back(keyframe.slot)
            self._take(frame)
            self._keep(objects, range(len(objects)))

    def evidence(self) -> TextureEvidence:
        """Return what texture said in the last round."""
        visible = self._counts[:, _VISIBLE]
        return TextureEvidence(visible.copy(), self._counts[:, _MATCHING] / np.maximum(visible, 1.0))

    @property
    def _pyramid(self) -> _Pyramid:
        """The pyramid of the frame, made when it is first needed."""
        if self._of_frame is None:
            self._of_frame = _Pyramid.of(self._rgb)
        return self._of_frame

    def _take(self, frame: CameraFrame) -> None:
        assert frame.rgb is not None
        self._rgb, self._of_frame, self._lens = frame.rgb, None, lens_of(frame.camera)
        depth = np.zeros((0, 0)) if frame.depth_m is None else frame.depth_m
        self._measured_depth = np.ascontiguousarray(depth, dtype=np.float32)

    def _nearest(self, objects: Objects, i: int, within: bool = False) -> int:
        """Return the slot of the keyframe seen most alike, -1 for none; ``within`` what a keyframe serves."""
        best, least = -1, 1.0 if within else np.inf
        rotation, distance = objects.rotation[i], float(np.linalg.norm(objects.translation[i]))
        for keyframe in self._keyframes.get(int(objects.track_ids[i]), ()):
            cosine = 0.5 * (float(np.sum(rotation * keyframe.rotation)) - 1.0)
            apart = math.acos(min(max(cosine, -1.0), 1.0)) / _MOST_ANGLE_RAD
            apart += abs(math.log(distance / keyframe.distance)) / math.log(_MOST_SCALE)
            if apart < least:
                best, least = keyframe.slot, apart
        return best

    def _drop(self, track: int, slot: int) -> None:
        self._keyframes[track] = [keyframe for keyframe in self._keyframes[track] if keyframe.slot != slot]
        self._pool.give_back(slot)

    def _correct(self, objects: Objects, i: int, slot: int) -> None:
        """Move the places of a keyframe towards where the object's pose and the image put them."""
        information = np.triu(self._own.information[i])
        information += np.triu(information, 1).T + _CORRECTION_INFORMATION
        step = _CORRECTION * np.linalg.solve(information, self._own.gradient[i])
        to_object = objects.rotation[i].T
        turn = se3.exp_so3(to_object @ step[3:])
        places = self._pool.places[slot].reshape(_PATCHES, 3, 3) @ turn.T
        places[:, 0] += to_object @ step[:3]
        self._pool.places[slot] = places.reshape(_PATCHES, 9)

    def _keep(self, objects: Objects, which: Iterable[int]) -> None:
        """Take keyframes of the objects at indices ``which`` as they look at their present poses."""
        tables, pool, occluders = self._tables, self._pool, None
        for i in which:
            occluders = occluders or Occluders.of(tables, objects, self._lens)
            pyramid = self._pyramid
            k, view = int(objects.class_ids[i]), int(objects.views[i])
            across = math.sqrt(tables.areas[k, view]) * self._lens[0] / max(objects.translation[i, 2], _MIN_DEPTH_M)
            slot, coarser = pool.take(), math.floor(math.log2(max(across / _FINEST_ACROSS_PX, 1.0)))
            pool.levels[slot] = min(coarser, len(pyramid.starts) - _LEVEL_COUNT)
            surface = tables.surfaces[k, tables.visible[k, view, : tables.visible_counts[k, view]]]
            taken = _take_keyframe(
                pyramid.pixels,
                pyramid.starts,
                pyramid.shapes,
                self._lens,
                surface,
                tables.contours[k, view],
                objects.rotation[i],
                objects.translation[i],
                occluders.nearest,
                occluders.depth,
                self._measured_depth,
                i,
                tables.diameters[k],
                pool.levels[slot],
                pool.places[slot],
                pool.patches[slot],
                pool.squares[slot],
            )
            if taken < _LEAST_PATCHES:
                pool.give_back(slot)
                continue
            keyframes = self._keyframes.setdefault(int(objects.track_ids[i]), [])
            distance = float(np.linalg.norm(objects.translation[i]))
            keyframes.append(_Keyframe(slot, objects.rotation[i].copy(), distance))
            if len(keyframes) > _MOST_KEYFRAMES:
                pool.give_back(keyframes.pop(0).slot)


@dataclass(frozen=True)
class _Pyramid:
    """Brightness in levels of half the size each: level l has ``shapes`` (L, 2) from ``starts`` (L,) of ``pixels``."""

    pixels: NDArray[np.uint8]
    starts: NDArray[np.intp]
    shapes: NDArray[np.intp]

    @classmethod
    def of(cls, rgb: Image) -> _Pyramid:
        """Blur and halve an image, the more often the wider it is."""
        height, width = rgb.shape[:2]
        count = _LEVEL_COUNT + max(0, round(math.log2(width / _LEVELS_AT_WIDTH)))
        shapes = np.empty((count, 2), dtype=np.intp)
        shapes[0] = height, width
        for level in range(1, count):
            shapes[level] = (shapes[level - 1] + 1) // 2
        starts = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))])
        pixels = np.empty(starts[-1], dtype=np.uint8)
        levels = [pixels[a:b].reshape(shape) for a, b, shape in zip(starts, starts[1:], shapes)]
        cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY, dst=levels[0])
        for finer, coarser in itertools.pairwise(levels):
            cv2.pyrDown(finer, dst=coarser)
        return cls(pixels, starts[:-1].astype(np.intp), shapes)


@inlined
def _sample(
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
        z = max(r[2, 0] * contour[c, 0] + r[2, 1] * contour[c, 1] + r[2, 2] * contour[c, 2] + t[2], _MIN_DEPTH_M)
        x = r[0, 0] * contour[c, 0] + r[0, 1] * contour[c, 1] + r[0, 2] * contour[c, 2] + t[0]
        y = r[1, 0] * contour[c, 0] + r[1, 1] * contour[c, 1] + r[1, 2] * contour[c, 2] + t[1]
        border[c, 0], border[c, 1] = pixel_of(lens, x / z, y / z)
    margin = _HALF + 2.0
    for m in range(len(surface)):
        scores[m] = 0.0
        p = surface[m]
        x = r[0, 0] * p[0] + r[0, 1] * p[1] + r[0, 2] * p[2] + t[0]
        y = r[1, 0] * p[0] + r[1, 1] * p[1] + r[1, 2] * p[2] + t[1]
        z = r[2, 0] * p[0] + r[2, 1] * p[1] + r[2, 2] * p[2] + t[2]
        nx = r[0, 0] * p[3] + r[0, 1] * p[4] + r[0, 2] * p[5]
        ny = r[1, 0] * p[3] + r[1, 1] * p[4] + r[1, 2] * p[5]
        nz = r[2, 0] * p[3] + r[2, 1] * p[4] + r[2, 2] * p[5]
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
def _window(
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
    x = r[0, 0] * place[0] + r[0, 1] * place[1] + r[0, 2] * place[2]
    y = r[1, 0] * place[0] + r[1, 1] * place[1] + r[1, 2] * place[2]
    z = r[2, 0] * place[0] + r[2, 1] * place[1] + r[2, 2] * place[2]
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
        ex, ey, ez = place[3 + 3 * axis], place[4 + 3 * axis], place[5 + 3 * axis]
        dx = step * (r[0, 0] * ex + r[0, 1] * ey + r[0, 2] * ez)
        dy = step * (r[1, 0] * ex + r[1, 1] * ey + r[1, 2] * ez)
        dz = step * (r[2, 0] * ex + r[2, 1] * ey + r[2, 2] * ez)
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
    for p in range(_PIXELS):
        i, j = p % _SIDE - _HALF, p // _SIDE - _HALF
        x = u + window[11] * i + window[13] * j
        y = v + window[12] * i + window[14] * j
        patch[p, 0] = _sample(image, x, y)
        ahead, behind = _sample(image, x + window[11], y + window[12]), _sample(image, x - window[11], y - window[12])
        patch[p, 1] = 0.5 * (ahead - behind)
        ahead, behind = _sample(image, x + window[13], y + window[14]), _sample(image, x - window[13], y - window[14])
        patch[p, 2] = 0.5 * (ahead - behind)
        for c in range(3):
            sums[c] += patch[p, c]
    square[:] = 0.0
    for p in range(_PIXELS):
        for c in range(3):
            patch[p, c] -= sums[c] / _PIXELS
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
        x = r[0, 0] * p[0] + r[0, 1] * p[1] + r[0, 2] * p[2] + t[0]
        y = r[1, 0] * p[0] + r[1, 1] * p[1] + r[1, 2] * p[2] + t[1]
        z = r[2, 0] * p[0] + r[2, 1] * p[1] + r[2, 2] * p[2] + t[2]
        nx = r[0, 0] * p[3] + r[0, 1] * p[4] + r[0, 2] * p[5]
        ny = r[1, 0] * p[3] + r[1, 1] * p[4] + r[1, 2] * p[5]
        nz = r[2, 0] * p[3] + r[2, 1] * p[4] + r[2, 2] * p[5]
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
        for level in range(_LEVEL_COUNT):
            start, rows, columns = starts[finest + level], shapes[finest + level, 0], shapes[finest + level, 1]
            step = float(1 << level)
            if _window(lens, r, t, place, scale * step, step, rows, columns, window):
                image = pixels[start : start + rows * columns].reshape((rows, columns))
                _take_patch(image, window, patches[level, count], squares[level, count])
        count += 1
    return count


@kernel
def _add_texture(
    pixels: NDArray[np.uint8],
    starts: NDArray[np.intp],
    shapes: NDArray[np.intp],
    lens: Array,
    all_places: Array,
    all_patches: Floats,
    all_squares: Floats,
    finest_levels: Ints,
    slots: Ints,
    levels: Ints,
    stages: Ints,
    active: Mask,
    rotations: Array,
    translations: Array,
    information: Array,
    gradient: Array,
    counts: Array,
) -> None:
    """Add the systems of the patches of all active objects, and count those that are visible and that match anew."""
    window, seen = np.empty(15), np.empty(_PIXELS, dtype=np.float32)
    j0, j1 = np.empty(6), np.empty(6)
    for i in range(len(slots)):
        if not active[i]:
            continue
        counts[i] = 0.0
        slot = slots[i]
        if slot < 0:
            continue
        level = levels[stages[i]]
        r, t, finest = rotations[i], translations[i], finest_levels[slot]
        height, width = shapes[finest + level]
        start = starts[finest + level]
        image = pixels[start : start + height * width].reshape((height, width))
        step = float(1 << level)
        for k in range(len(all_places[slot])):
            square = all_squares[slot, level, k]
            if square[3] <= 0.0 or not _window(
                lens, r, t, all_places[slot, k], step * float(1 << finest), step, height, width, window
            ):
                continue
            patch = all_patches[slot, level, k]
            a, b, c, d = window[11], window[12], window[13], window[14]
            total = np.float32(0.0)
            for p in range(_PIXELS):
                column, row = p % _SIDE - _HALF, p // _SIDE - _HALF
                seen[p] = _sample(image, window[3] + a * column + c * row, window[4] + b * column + d * row)
                total += seen[p]
            mean = total / _PIXELS
            own, common = np.float32(0.0), np.float32(0.0)
            for p in range(_PIXELS):
                seen[p] -= mean
                own += seen[p] * seen[p]
                common += seen[p] * patch[p, 0]
            correlation = common / math.sqrt(own * square[3] + 1.0)
            if square[3] > _LEAST_CONTRAST:
                counts[i, _VISIBLE] += 1.0
                counts[i, _MATCHING] += 1.0 if correlation > _MATCHED else 0.0
            if correlation < _MIN_CORRELATION:
                continue
            contrast = np.float32(min(max(math.sqrt(square[3] / max(own, 1.0)), 0.5), 2.0))
            g0, g1 = np.float32(0.0), np.float32(0.0)
            for p in range(_PIXELS):
                difference = seen[p] * contrast - patch[p, 0]
                g0 += patch[p, 1] * difference
                g1 += patch[p, 2] * difference
            weight = (correlation - _MIN_CORRELATION) / ((1.0 - _MIN_CORRELATION) * _NOISE * _NOISE)
            # How the object's motion moves the place in the patch that is seen at a pixel.
            determinant = a * d - b * c
            for axis in range(3):
                du, dv = window[5 + axis], window[8 + axis]
                j0[axis], j1[axis] = (d * du - c * dv) / determinant, (a * dv - b * du) / determinant
            for j in (j0, j1):
                j[3] = window[1] * j[2] - window[2] * j[1]
                j[4] = window[2] * j[0] - window[0] * j[2]
                j[5] = window[0] * j[1] - window[1] * j[0]
            s0, s1, s2 = square[0] * weight, square[1] * weight, square[2] * weight
            for row in range(6):
                p0, p1 = s0 * j0[row] + s1 * j1[row], s1 * j0[row] + s2 * j1[row]
                gradient[i, row] -= weight * (g0 * j0[row] + g1 * j1[row])
                for column in range(row, 6):
                    information[i, row, column] += p0 * j0[column] + p1 * j1[column]
