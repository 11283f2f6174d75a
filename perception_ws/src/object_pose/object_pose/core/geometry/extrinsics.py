"""Where one camera, or any frame, stands in another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array, expect_shape
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry import se3

_ROTATION_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Extrinsics:
    """``T_parent_child`` (4, 4) takes points of the frame ``child`` to the frame ``parent``, in metres.

    Raises ``CalibrationError`` where it is no rigid transform or a frame has no name; so does ``a @ b`` where the inner
    frames differ.
    """

    parent: str
    child: str
    T_parent_child: Array

    def __post_init__(self) -> None:
        expect_shape("T_parent_child", self.T_parent_child, (4, 4))
        name, rotation = f"the transform from '{self.child}' to '{self.parent}'", self.T_parent_child[:3, :3]
        if not self.parent or not self.child or self.parent == self.child:
            raise CalibrationError(f"{name} needs two different frames")
        if not np.all(np.isfinite(self.T_parent_child)) or np.any(self.T_parent_child[3] != (0.0, 0.0, 0.0, 1.0)):
            raise CalibrationError(f"{name} is not finite, or its last row is not (0, 0, 0, 1)")
        error = se3.rotation_error(rotation)
        if error > _ROTATION_TOLERANCE:
            raise CalibrationError(f"{name} has no rotation: its axes are off by {error:.2g}")

    @property
    def inverse(self) -> Extrinsics:
        """Where ``parent`` stands in ``child``."""
        return Extrinsics(self.child, self.parent, se3.inverse(self.T_parent_child))

    def __matmul__(self, other: Extrinsics) -> Extrinsics:
        """Return where ``other.child`` stands in ``self.parent``."""
        if self.child != other.parent:
            raise CalibrationError(
                f"'{self.child}' in '{self.parent}' does not go with '{other.child}' in '{other.parent}'"
            )
        return Extrinsics(self.parent, other.child, self.T_parent_child @ other.T_parent_child)

    def apply(self, points_child: Array) -> Array:
        """Return (..., 3) points of ``child`` in ``parent``."""
        return se3.apply(self.T_parent_child, points_child)
