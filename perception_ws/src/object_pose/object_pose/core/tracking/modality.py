"""What modalities of the tracker share: the objects that are aligned, and the least squares they add to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.frame import CameraFrame
from object_pose.core.kernels import inlined

STAGES = 6


@dataclass
class Objects:
    """N objects while they are aligned: ``rotation`` (N, 3, 3), ``translation`` (N, 3) in the camera, in metres.

    ``class_ids`` (N,) index the view tables, ``track_ids`` (N,) say which object it is from frame to frame, ``views``
    (N,) are the views nearest to the poses. ``stages`` (N,), from 0 to ``STAGES`` - 1, say how coarse or fine each is
    measured, and ``active`` (N,) which are still to be aligned.
    """

    class_ids: NDArray[np.intp]
    track_ids: NDArray[np.intp]
    rotation: Array
    translation: Array
    views: NDArray[np.int32]
    stages: NDArray[np.int32]
    active: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.class_ids)


@dataclass
class Systems:
    """Linearised least squares of N poses, of the perturbation t' = t + dt, R' = exp(dr) R in camera axes.

    ``information`` (N, 6, 6) is J^T W J, ``gradient`` (N, 6) J^T W r with r measured - expected, so that the step is
    the solution of information @ step = gradient.
    """

    information: Array
    gradient: Array

    @classmethod
    def zeros(cls, count: int) -> Systems:
        """Return systems of ``count`` objects that nothing was added to."""
        return cls(np.zeros((count, 6, 6)), np.zeros((count, 6)))

    @property
    def symmetric(self) -> Array:
        """The information (N, 6, 6) with its lower triangles, which need not be filled."""
        upper = np.triu(self.information)
        return np.asarray(upper + np.swapaxes(np.triu(upper, 1), 1, 2))

    def clear(self) -> None:
        """Forget what was added."""
        self.information[:] = 0.0
        self.gradient[:] = 0.0


class Modality(Protocol):
    """One kind of measurement. A frame goes through ``start``, then ``add`` in every round, then ``finish``."""

    def start(self, frame: CameraFrame, objects: Objects) -> bool:
        """Prepare for a frame, whose objects are where they are expected; False where there is nothing to measure."""

    def add(self, objects: Objects, systems: Systems) -> None:
        """Add what is measured of the active objects at their present poses, in the stages they are in.

        Only upper triangles of the information need be filled. In the last round all objects are active, in the last
        stage, and stay where they are: its systems give their covariance, and what it measures is their evidence.
        """

    def finish(self, objects: Objects, is_tracked: NDArray[np.bool_]) -> None:
        """Learn from a frame whose poses are known by now, of the objects that were tracked."""


@inlined
def accumulate(weight: float, residual: float, jacobian: Array, information: Array, gradient: Array) -> None:
    """Add one measurement with ``jacobian`` (6,) to the upper triangle of (6, 6) ``information`` and to a gradient."""
    for a in range(6):
        weighted = weight * jacobian[a]
        gradient[a] += weighted * residual
        for b in range(a, 6):
            information[a, b] += weighted * jacobian[b]
