"""Objects by name: the procedural parts, or a folder of BOP models."""

from __future__ import annotations

from pathlib import Path

from object_pose.simulation.parts.bop_models import load_bop_objects
from object_pose.simulation.parts.objects import SceneObject, part_objects

PARTS = "parts"


def load_objects(source: str) -> tuple[SceneObject, ...]:
    """Return the objects of ``source``: 'parts', or a folder of BOP models; class ids in the order of the result."""
    if source == PARTS:
        return part_objects()
    return tuple(load_bop_objects(Path(source)))
