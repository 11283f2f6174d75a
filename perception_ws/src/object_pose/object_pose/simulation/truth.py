"""What a simulated or recorded frame comes with: the truth about its objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.types import Frame, ObjectTruth


@dataclass(frozen=True)
class SimulatedFrame:
    """A frame, its true objects, and ``instance_ids`` (H, W) int32: i where ``truths[i]`` is visible, -1 elsewhere."""

    frame: Frame
    truths: tuple[ObjectTruth, ...]
    instance_ids: NDArray[np.int32]
