"""Colour as one modality: regions and texture, of the objects that need them and of no others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from object_pose.core.arrays import Array, Mask
from object_pose.core.frame import CameraFrame
from object_pose.core.tracking.modality import Objects, Systems
from object_pose.core.tracking.region_modality import RegionEvidence, RegionModality
from object_pose.core.tracking.texture_modality import TextureEvidence, TextureModality
from object_pose.core.tracking.view_model import ViewTables

_LEAST_INFORMATION, _KNOWN = 1e-6, 1e12
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
    """Measures regions and texture; comes after the modalities that it adds to.

    Without ``always`` it measures tracks that are new, and those that the other modalities left open in the frame
    before: where the position of a surface point is known to more than ``open_m`` (one standard deviation) in any
    direction. A rotation about an axis of revolution counts as known.
    """

    def __init__(self, tables: ViewTables, always: bool, open_m: float) -> None:
        self._tables, self._always, self._open_m = tables, always, open_m
        self._region, self._texture = RegionModality(tables), TextureModality(tables)
        self._closed: set[int] = set()
        self._is_needed: Mask = np.zeros(0, dtype=np.bool_)
        self._was_measured: Mask = np.zeros(0, dtype=np.bool_)
        self._others = np.zeros((0, 6, 6))

    def start(self, frame: CameraFrame, objects: Objects) -> bool:
        """Take the frame's colour; False where it has none."""
        if frame.rgb is None:
            return False
        tracks = objects.track_ids.tolist()
        every = self._always or frame.depth_m is None
        self._is_needed = np.array([every or track not in self._closed for track in tracks], dtype=np.bool_)
        self._region.start(frame, objects)
        self._texture.start(frame, objects)
        self._was_measured = self._is_needed & self._region.has_learnt
        return True

    def add(self, objects: Objects, systems: Systems) -> None:
        """Add what regions and texture measure of the active objects that need them."""
        self._others = systems.information.copy()
        needed = replace(objects, active=objects.active & self._is_needed)
        if np.any(needed.active):
            self._region.add(needed, systems)
            self._texture.add(needed, systems)

    def finish(self, objects: Objects, is_tracked: Mask) -> None:
        """Learn how the objects that were tracked look, and which of them the other modalities leave open."""
        self._region.finish(objects, is_tracked)
        self._texture.finish(objects, is_tracked)
        is_closed = is_tracked & (self._openness(objects) < self._open_m)
        self._closed = set(objects.track_ids[is_closed].tolist())

    def learn(self, frame: CameraFrame, objects: Objects) -> None:
        """Take the looks of new tracks, or of tracks found anew, from a frame whose poses are known."""
        self._region.learn(frame, objects)
        self._texture.learn(frame, objects)
        self._closed -= set(objects.track_ids.tolist())

    def evidence(self) -> AppearanceEvidence:
        """Return what colour said in the last round."""
        return AppearanceEvidence(self._region.evidence(), self._texture.evidence(), self._was_measured)

    def _openness(self, objects: Objects) -> Array:
        """Return the standard deviation (N,) in metres of a surface point in the direction others know least."""
        upper = np.triu(self._others)
        information = upper + np.swapaxes(np.triu(upper, 1), 1, 2)
        radii = 0.5 * self._tables.diameters[objects.class_ids].astype(np.float64)
        scale = np.concatenate([np.ones((len(objects), 3)), np.repeat(1.0 / radii[:, None], 3, axis=1)], axis=1)
        information *= scale[:, :, None] * scale[:, None]
        # What no one can see of a body of revolution counts as known.
        points, axes = np.swapaxes(self._tables.axes[objects.class_ids], 0, 1).astype(np.float64)
        turns = np.einsum("nij,nj->ni", objects.rotation, axes)
        centers = np.einsum("nij,nj->ni", objects.rotation, points)
        twists = np.concatenate([-np.cross(turns, centers), turns * radii[:, None]], axis=1)
        information += _KNOWN * twists[:, :, None] * twists[:, None]
        least = np.linalg.eigvalsh(information)[:, 0]
        return np.asarray(1.0 / np.sqrt(np.maximum(least, _LEAST_INFORMATION)))
