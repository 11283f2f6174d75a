"""Colour as one modality: regions and texture, of the objects that need them and of no others."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Mask
from object_pose.core.frame import CameraFrame
from object_pose.core.geometry.lens import rotated
from object_pose.core.kernels import kernel
from object_pose.core.tracking.colour_frame import ColourFrame
from object_pose.core.tracking.modality import Objects, Systems
from object_pose.core.tracking.occluders import Occluders
from object_pose.core.tracking.region_modality import RegionEvidence, RegionModality
from object_pose.core.tracking.texture_modality import TextureEvidence, TextureModality
from object_pose.core.tracking.view_model import Floats, ViewTables

# The looks of objects that depth measures well are learned anew after so many frames, or fewer where the view changed.
_LEARNT_EVERY, _LEARNT_EVERY_VIEW = 10, 3
_RATE, _MOST_FRAMES = 0.1, 5  # of learning new colours, a frame, and frames that count at most
_KNOWN = 1e12  # information of what no one can see
_DISTANCE_KNOWN = 4e6  # information along the viewing ray from which on depth knows an object's distance: 0.5 mm
_LEAST_PATCHES, _LEAST_SEPARABILITY = 12.0, 0.15


@dataclass(frozen=True)
class AppearanceEvidence:
    """What colour says of N poses; ``was_measured`` (N,) are the objects that it was asked about."""

    region: RegionEvidence
    texture: TextureEvidence
    was_measured: Mask

    @property
    def agreement(self) -> Array:
        """The share (N,) of contour, and of texture where there is enough, that agrees; NaN where nobody can tell."""
        both = 0.5 * (self.region.agreeing + self.texture.matching)
        agreement = np.where(self._has_texture, both, self.region.agreeing)
        return np.where(self.can_tell, agreement, np.nan)

    @property
    def can_tell(self) -> Mask:
        """Which objects (N,) have texture, or colours that those around them have not."""
        is_distinct = self.region.separability >= _LEAST_SEPARABILITY
        return np.asarray(self.was_measured & (self._has_texture | is_distinct))

    @property
    def _has_texture(self) -> Mask:
        return np.asarray(self.texture.patches >= _LEAST_PATCHES)


class AppearanceModality:
    """Measures regions and texture of the objects that need them; comes after the modalities that it adds to.

    These are tracks that are new, and those that the other modalities left open in the frame before: where the position
    of a surface point is known to more than ``open_m`` (one standard deviation) in any direction, with ``always`` all.
    A rotation about an axis of revolution counts as known. How the others look is learned now and then, so that colour
    knows them when depth fails; a frame that nobody needs is not prepared.
    """

    def __init__(self, tables: ViewTables, always: bool, open_m: float) -> None:
        self._tables, self._always, self._open_m = tables, always, open_m
        self._region, self._texture = RegionModality(tables), TextureModality(tables)
        self._closed: set[int] = set()
        self._learnt: dict[int, tuple[int, int]] = {}  # number of the frame, and view, by track
        self._frame_number = 0
        self._frame: ColourFrame | None = None
        self._occluders: Occluders | None = None
        self._is_needed: Mask = np.zeros(0, dtype=np.bool_)
        self._was_measured: Mask = np.zeros(0, dtype=np.bool_)
        self._others = np.zeros((0, 6, 6))

    def start(self, frame: CameraFrame, objects: Objects) -> bool:
        """Take the frame's colour; False where it has none.

        New tracks are learned where they are expected if there is no depth, otherwise once it has measured them.
        """
        if frame.rgb is None:
            return False
        self._frame, self._occluders = ColourFrame(frame), None
        self._frame_number += 1
        every = self._always or frame.depth_m is None
        needed = [every or track not in self._closed for track in objects.track_ids.tolist()]
        self._is_needed = np.array(needed, dtype=np.bool_)
        self._region.start(objects)
        self._texture.start(objects, self._is_needed)
        is_new = ~self._region.has_learnt
        if frame.depth_m is None and np.any(is_new):
            self._occluders = Occluders.of(self._tables, objects, self._frame.lens)
            self._region.learn(objects, is_new, np.ones(len(objects)), self._frame, self._occluders)
        self._was_measured = self._is_needed & self._region.has_learnt
        return True

    def add(self, objects: Objects, systems: Systems) -> None:
        """Add what regions and texture measure of the active objects that need them."""
        assert self._frame is not None
        self._others = systems.information.copy()
        needed = replace(objects, active=objects.active & self._is_needed)
        if np.any(needed.active):
            if self._occluders is None:
                self._occluders = Occluders.of(self._tables, objects, self._frame.lens)
            self._region.add(needed, systems, self._frame, self._occluders)
            self._texture.add(needed, systems, self._frame)

    def finish(self, objects: Objects, is_tracked: Mask) -> None:
        """Learn how objects that were tracked look, and which of them the other modalities leave open."""
        assert self._frame is not None
        ages = self._ages(objects)
        which = is_tracked & (self._is_needed | (ages >= _LEARNT_EVERY))
        if np.any(which):
            occluders = Occluders.of(self._tables, objects, self._frame.lens)
            rates = 1.0 - (1.0 - _RATE) ** np.minimum(ages, _MOST_FRAMES)
            self._region.learn(objects, which, rates, self._frame, occluders)
            self._texture.learn(objects, which, self._frame, occluders)
            at_known_distance = which & (self._others[:, 2, 2] >= _DISTANCE_KNOWN)
            self._region.learn_margins(objects, at_known_distance, rates, self._frame, occluders)
            self._remember(objects, which)
        self._forget_others(objects)
        is_closed = np.zeros(len(objects), dtype=np.bool_)
        _find_closed(
            self._others,
            objects.class_ids,
            objects.rotation,
            self._tables.diameters,
            self._tables.axes,
            self._open_m,
            is_closed,
        )
        self._closed = set(objects.track_ids[is_closed & is_tracked].tolist())

    def learn(self, frame: CameraFrame, objects: Objects) -> None:
        """Take the looks of new tracks, or of tracks found anew, from a frame whose poses are known."""
        if frame.rgb is None:
            return
        known = ColourFrame(frame)
        every, occluders = np.ones(len(objects), dtype=np.bool_), Occluders.of(self._tables, objects, known.lens)
        self._region.start(objects)
        self._region.learn(objects, every, np.ones(len(objects)), known, occluders)
        self._texture.restart(objects, known, occluders)
        if frame.depth_m is not None:
            self._region.restart_margins(objects, known, occluders)
        self._remember(objects, every)
        self._closed -= set(objects.track_ids.tolist())

    def evidence(self) -> AppearanceEvidence:
        """Return what colour said in the last round."""
        return AppearanceEvidence(self._region.evidence(), self._texture.evidence(), self._was_measured)

    def _ages(self, objects: Objects) -> NDArray[np.intp]:
        """Return how many frames ago (N,) the looks of objects were learned; of another view, they count for more."""
        ages = np.full(len(objects), _LEARNT_EVERY, dtype=np.intp)
        for row, (track, view) in enumerate(zip(objects.track_ids.tolist(), objects.views.tolist())):
            if track in self._learnt:
                number, view_then = self._learnt[track]
                age = self._frame_number - number
                is_due = view != view_then and age >= _LEARNT_EVERY_VIEW
                ages[row] = max(age, _LEARNT_EVERY) if is_due else age
        return ages

    def _remember(self, objects: Objects, which: Mask) -> None:
        """Keep when the looks of objects ``which`` (N,) were learned: those of new ones not all in one frame again."""
        for row in np.flatnonzero(which).tolist():
            track = int(objects.track_ids[row])
            earlier = 0 if track in self._learnt else track % _LEARNT_EVERY
            self._learnt[track] = self._frame_number - earlier, int(objects.views[row])

    def _forget_others(self, objects: Objects) -> None:
        self._region.forget_others(objects)
        self._texture.forget_others(objects)
        for track in self._learnt.keys() - set(objects.track_ids.tolist()):
            del self._learnt[track]


@kernel
def _find_closed(
    information: Array,
    class_ids: NDArray[np.intp],
    rotations: Array,
    diameters: Floats,
    axes: Floats,
    open_m: float,
    closed: Mask,
) -> None:
    """Write of which objects (N,) every surface point is known to ``open_m`` in all directions.

    ``information`` (N, 6, 6) holds upper triangles. What no one can see of a body of revolution counts as known.
    """
    a, twist = np.empty((6, 6)), np.empty(6)
    least = 1.0 / (open_m * open_m)
    for i in range(len(class_ids)):
        k, r = class_ids[i], rotations[i]
        radius = 0.5 * diameters[k]
        ax, ay, az = rotated(r, axes[k, 1, 0], axes[k, 1, 1], axes[k, 1, 2])
        cx, cy, cz = rotated(r, axes[k, 0, 0], axes[k, 0, 1], axes[k, 0, 2])
        twist[0], twist[1], twist[2] = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
        twist[3], twist[4], twist[5] = ax * radius, ay * radius, az * radius
        # It is known where information - least * identity, turns scaled to the surface, has a Cholesky decomposition.
        closed[i] = True
        for row in range(6):
            for column in range(row + 1):
                scale = (1.0 if row < 3 else 1.0 / radius) * (1.0 if column < 3 else 1.0 / radius)
                value = scale * information[i, column, row] + _KNOWN * twist[row] * twist[column]
                value -= least if row == column else 0.0
                for m in range(column):
                    value -= a[row, m] * a[column, m]
                if row == column:
                    closed[i] = closed[i] and value > 0.0
                a[row, column] = math.sqrt(max(value, 1e-12)) if row == column else value / a[column, column]
