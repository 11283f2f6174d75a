"""The parts of a pose model for the 3-D view: names, sizes, symmetries, and surfaces as binary glTF in metres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from object_pose.core.errors import ModelError
from object_pose.core.object_model import ObjectModel
from object_pose.core.vision.drawing import class_color
from object_pose.runtime.resources import find
from object_pose.web.errors import HttpError

_SAME_SIZE = 0.05  # share of its size by which a mesh may differ from what the model says of the part


class SymmetryDescription(BaseModel):
    """``axis`` of revolution, unit vector in the part's frame, if any; ``discrete`` counts further turns."""

    axis: list[float] | None
    discrete: int


class PartDescription(BaseModel):
    """A part: class name, diameter, box in its own frame, symmetries, and the colour that it is drawn with."""

    class_name: str = Field(serialization_alias="class")
    diameter_m: float
    box_center_m: list[float]
    box_size_m: list[float]
    symmetries: SymmetryDescription
    colour: str


def describe_parts(objects: Sequence[ObjectModel]) -> list[PartDescription]:
    """Return the parts in the order of their class ids."""
    return [_described(index, part) for index, part in enumerate(objects)]


def part_glb(objects: Sequence[ObjectModel], class_name: str) -> bytes:
    """Return a part's mesh, or the points of its surface where none is at hand; ``HttpError`` 404 if there is none."""
    import trimesh  # of the extra 'simulation'

    index = next((index for index, part in enumerate(objects) if part.name == class_name), None)
    if index is None:
        raise HttpError(404, f"the model has no part '{class_name[:64]}'")
    part, colour = objects[index], (*class_color(index), 255)
    surface = _mesh(part)
    if surface is None:
        points = part.surface_object if len(part.surface_object) else part.points_object
        surface = trimesh.PointCloud(points, colors=np.tile(np.array(colour, np.uint8), (len(points), 1)))
    else:
        material = trimesh.visual.material.PBRMaterial(baseColorFactor=colour, metallicFactor=0.1, roughnessFactor=0.6)
        surface.visual = trimesh.visual.TextureVisuals(material=material)
    return bytes(trimesh.Scene(surface).export(file_type="glb"))


def _described(index: int, part: ObjectModel) -> PartDescription:
    axis = part.symmetry.axis
    return PartDescription(
        class_name=part.name,
        diameter_m=part.diameter,
        box_center_m=part.box_center.tolist(),
        box_size_m=part.box_size.tolist(),
        symmetries=SymmetryDescription(
            axis=None if axis is None else axis.tolist(), discrete=len(part.symmetry.discrete)
        ),
        colour="#{:02x}{:02x}{:02x}".format(*class_color(index)),
    )


def _mesh(part: ObjectModel) -> Any:
    """Return the shipped mesh of a part, None where there is none of its size."""
    import trimesh

    if Path(part.name).name != part.name:  # an uploaded card's words name no other file
        return None
    try:
        mesh = trimesh.load_mesh(find("models", f"meshes/{part.name}.stl"))
    except (ModelError, ValueError):
        return None
    is_same = np.allclose(mesh.extents, part.box_size, rtol=0.0, atol=_SAME_SIZE * part.diameter)
    return mesh if is_same else None
