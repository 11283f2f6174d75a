"""Texture as a modality: how far patches of the surface lie from where an earlier frame showed them.

Each patch of a keyframe has its place and extent on the model, so that a pose says where and how the image should show
it. Patches are compared without their mean brightness and contrast, and their gradients say how the pose must move.
Texture hardly drifts, but repeats the error of its keyframe's pose: what the other modalities say of the pose moves the
keyframe's places, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Mask
from object_pose.core.geometry import se3
from object_pose.core.kernels import kernel
from object_pose.core.tracking.colour_frame import ColourFrame
from object_pose.core.tracking.keyframes import (
    LEAST_PATCHES,
    PATCHES,
    PIXELS,
    SIDE,
    Keyframes,
    patch_window,
    sample,
)
from object_pose.core.tracking.modality import Objects, Systems
from object_pose.core.tracking.occluders import Occluders
from object_pose.core.tracking.view_model import Floats, Ints, ViewTables

# Levels of the image pyramid above a keyframe's finest, by stage.
_LEVELS = np.array([3, 2, 2, 1, 0, 0], dtype=np.int32)
_NOISE = 60.0  # of a pixel in a patch, in levels of 256: neighbours repeat each other's errors
_MIN_CORRELATION = 0.3
_MATCHED = 0.7  # correlation of a patch that shows what it should
_LEAST_CONTRAST = PIXELS * 9.0  # of a patch whose match tells: noise of three levels of 256 has as much
_LEAST_MATCHED = 0.3  # share of a keyframe's patches, below which a new one is taken in its place
_CORRECTION = 0.3  # share of the disagreement with the other modalities that moves a keyframe's places
_CORRECTION_INFORMATION = np.diag([3e3, 3e3, 3e3, 1e2, 1e2, 1e2])
_HALF_SIDE = SIDE // 2

# Columns of the counts.
_VISIBLE, _MATCHING = range(2)


@dataclass(frozen=True)
class TextureEvidence:
    """What texture says of N poses: how many patches with contrast are visible (N,), and which share (N,) matches."""

    patches: Array
    matching: Array


class TextureModality:
    """Measures with the brightness of a frame; keeps keyframes of every track."""

    def __init__(self, tables: ViewTables) -> None:
        self._tables, self._keyframes = tables, Keyframes()
        self._slots = np.zeros(0, dtype=np.int32)
        self._counts = np.zeros((0, 2))
        self._own = Systems.zeros(0)

    def start(self, objects: Objects, which: Mask) -> None:
        """Choose the keyframes of the objects ``which`` (N,) are to be measured."""
        self._slots = np.full(len(objects), -1, dtype=np.int32)
        for i in np.flatnonzero(which).tolist():
            self._slots[i], _ = self._keyframes.nearest(objects, i)
        self._counts = np.zeros((len(objects), 2))
        self._own = Systems.zeros(len(objects))

    def add(self, objects: Objects, systems: Systems, frame: ColourFrame) -> None:
        """Add how far the patches of each object's nearest keyframe lie from where the image shows them."""
        self._own.clear()
        keyframes, pyramid = self._keyframes, frame.pyramid
        _add_texture(
            pyramid.pixels,
            pyramid.starts,
            pyramid.shapes,
            frame.lens,
            keyframes.places,
            keyframes.patches,
            keyframes.squares,
            keyframes.levels,
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

    def learn(self, objects: Objects, which: Mask, frame: ColourFrame, occluders: Occluders) -> None:
        """Correct the keyframes of objects ``which`` (N,) are where they are, and take new ones of new views."""
        evidence = self.evidence()
        for i in np.flatnonzero(which).tolist():
            slot = int(self._slots[i])
            if evidence.matching[i] >= _LEAST_MATCHED:
                self._correct(objects, i, slot)
            elif evidence.patches[i] >= LEAST_PATCHES:
                self._keyframes.drop(int(objects.track_ids[i]), slot)
            _, is_served = self._keyframes.nearest(objects, i)
            if not is_served:
                self._keyframes.take(objects, i, self._tables, frame, occluders)

    def restart(self, objects: Objects, frame: ColourFrame, occluders: Occluders) -> None:
        """Take keyframes of all objects, in place of those that their tracks had."""
        self._keyframes.forget(objects.track_ids.tolist())
        for i in range(len(objects)):
            self._keyframes.take(objects, i, self._tables, frame, occluders)

    def forget_others(self, objects: Objects) -> None:
        """Forget the tracks of other objects."""
        self._keyframes.forget_others(objects.track_ids.tolist())

    def evidence(self) -> TextureEvidence:
        """Return what texture said in the last round."""
        visible = self._counts[:, _VISIBLE]
        return TextureEvidence(visible.copy(), self._counts[:, _MATCHING] / np.maximum(visible, 1.0))

    def _correct(self, objects: Objects, i: int, slot: int) -> None:
        """Move the places of a keyframe towards where the object's pose and the image put them."""
        information = np.triu(self._own.information[i])
        information += np.triu(information, 1).T + _CORRECTION_INFORMATION
        step = _CORRECTION * np.linalg.solve(information, self._own.gradient[i])
        to_object = objects.rotation[i].T
        turn = se3.exp_so3(to_object @ step[3:])
        places = self._keyframes.places[slot].reshape(PATCHES, 3, 3) @ turn.T
        places[:, 0] += to_object @ step[:3]
        self._keyframes.places[slot] = places.reshape(PATCHES, 9)


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
    window, seen = np.empty(15), np.empty(PIXELS, dtype=np.float32)
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
            if square[3] <= 0.0 or not patch_window(
                lens, r, t, all_places[slot, k], step * float(1 << finest), step, height, width, window
            ):
                continue
            patch = all_patches[slot, level, k]
            a, b, c, d = window[11], window[12], window[13], window[14]
            total = np.float32(0.0)
            for p in range(PIXELS):
                column, row = p % SIDE - _HALF_SIDE, p // SIDE - _HALF_SIDE
                seen[p] = sample(image, window[3] + a * column + c * row, window[4] + b * column + d * row)
                total += seen[p]
            mean = total / PIXELS
            own, common = np.float32(0.0), np.float32(0.0)
            for p in range(PIXELS):
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
            for p in range(PIXELS):
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
