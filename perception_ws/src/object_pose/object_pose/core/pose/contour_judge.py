"""How far the contours of poses that depth gave show in colour, of many poses at once.

Lines across the contour measure where the colours of its two sides change, by the kernels of the tracker, and a pose
moves there no farther than depth errs (docs/decisions/0027-contours-beside-depth.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.frame import Frame
from object_pose.core.geometry.linear import move_by, step_beside_prior, turn_between
from object_pose.core.kernels import kernel
from object_pose.core.tracking.colour_frame import ColourFrame
from object_pose.core.tracking.modality import STAGES, Objects, Systems
from object_pose.core.tracking.occluders import Occluders
from object_pose.core.tracking.region_modality import RegionModality
from object_pose.core.tracking.view_model import ViewModel, ViewTables

# How finely contours are followed in each step; in the last stage they are judged.
_STEPS = (3, 3, 4, 4)
# So many lines that do not agree are added: a few that are seen prove little.
_FEW_LINES = 15.0
# How well a pose is known that depth gave: 3 mm and 0.03 rad.
_INFORMATION_BY_DEPTH = np.diag(np.repeat([0.003, 0.03], 3) ** -2.0)


class ContourJudge:
    """Judges poses of the classes that are drawn as ``views``; for one thread at a time."""

    def __init__(self, views: Sequence[ViewModel]) -> None:
        self._tables = ViewTables.of(views)
        self._region = RegionModality(self._tables)

    def agreement(self, frame: Frame, class_ids: NDArray[np.intp], T_camera_object: Array) -> Array:
        """Return the share (N,) of what is seen of poses' (N, 4, 4) contours where colour changes, too, in [0, 1].

        The frame has colour. What its depth shows in front of a contour hides that; of a few lines the share is less.
        """
        count, tables, region = len(class_ids), self._tables, self._region
        rotation, translation = T_camera_object[:, :3, :3].copy(), T_camera_object[:, :3, 3].copy()
        by_depth = _INFORMATION_BY_DEPTH, rotation, translation
        every, rates = np.ones(count, dtype=np.bool_), np.ones(count)
        objects = Objects(
            class_ids=np.array(class_ids, dtype=np.intp),
            track_ids=np.arange(count),
            rotation=rotation.copy(),
            translation=translation.copy(),
            views=tables.nearest(class_ids, rotation, translation),
            stages=np.zeros(count, dtype=np.int32),
            active=every,
        )
        seen = ColourFrame(frame)
        # Poses that compete for one place do not hide each other.
        others = Occluders.none(seen.lens)
        region.start(objects)
        systems = Systems.zeros(count)
        for stage in (*_STEPS, STAGES - 1):
            objects.stages[:] = stage
            # The colours are those beside the contour where it is now.
            region.learn(objects, every, rates, seen, others)
            systems.clear()
            region.add(objects, systems, seen, others)
            if stage < STAGES - 1:
                _step(systems.information, systems.gradient, *by_depth, objects.rotation, objects.translation)
                objects.views[:] = tables.nearest(objects.class_ids, objects.rotation, objects.translation)
        evidence = region.evidence()
        return np.asarray(evidence.agreeing * evidence.lines / (evidence.lines + _FEW_LINES))


@kernel
def _step(
    information: Array,
    gradient: Array,
    prior: Array,
    prior_rotations: Array,
    prior_translations: Array,
    rotations: Array,
    translations: Array,
) -> None:
    """Move N poses by one Gauss-Newton step each, held back at those of a prior (6, 6)."""
    offset, step, system, turn = np.empty(6), np.empty(6), np.empty((6, 6)), np.empty((3, 3))
    for i in range(len(rotations)):
        r, t = rotations[i], translations[i]
        for axis in range(3):
            offset[axis] = t[axis] - prior_translations[i, axis]
        turn_between(prior_rotations[i], r, offset)
        step_beside_prior(information[i], gradient[i], prior, 1.0, offset, step, system)
        move_by(step, r, t, turn)
