"""A simulated frame and the truth about its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.results.pose import ObjectTruth
from object_pose.simulation.parts.objects import SceneObject
from object_pose.simulation.render import rasterizer
from object_pose.simulation.render.renderer import Placement, Rendering

MIN_VISIBLE_PIXELS = 8


@dataclass(frozen=True)
class SimulatedFrame:
    """A frame, its true objects, and ``instance_ids`` (H, W) int32: i where ``truths[i]`` is visible, -1 elsewhere."""

    frame: Frame
    truths: tuple[ObjectTruth, ...]
    instance_ids: NDArray[np.int32]


def find_truths(
    objects: Sequence[SceneObject], placements: Sequence[Placement], picture: Rendering, T_world_camera: Array
) -> tuple[tuple[ObjectTruth, ...], NDArray[np.int32]]:
    """Return the truths of a picture and the (H, W) image of their positions in the list, -1 elsewhere.

    A box spans the outer edges of the visible pixels, so pixel (u, v) alone has (u - 0.5, v - 0.5, u + 0.5, v + 0.5).
    """
    counts = np.zeros(len(placements), dtype=np.int64)
    boxes = np.zeros((len(placements), 4), dtype=np.int64)
    rasterizer.visible_regions(picture.placements, counts, boxes)
    T_camera_world = se3.inverse(T_world_camera)
    truths: list[ObjectTruth] = []
    number_of = np.full(len(placements), -1, dtype=np.int32)
    for index, placement in enumerate(placements):
        if placement.class_id < 0 or counts[index] < MIN_VISIBLE_PIXELS:
            continue
        number_of[index] = len(truths)
        truths.append(
            ObjectTruth(
                placement.class_id,
                objects[placement.class_id].model.name,
                T_camera_world @ placement.T_world_object,
                min(float(counts[index]) / max(float(picture.areas[index]), 1.0), 1.0),
                boxes[index] + (-0.5, -0.5, 0.5, 0.5),
            )
        )
    instance_ids = np.empty_like(picture.placements)
    rasterizer.relabel(picture.placements, number_of, instance_ids)
    return tuple(truths), instance_ids
