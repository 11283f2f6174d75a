"""The symmetries of parts as a user confirms them: what was found, what was refused by little, and how to say so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from object_pose.core.arrays import Array, Image
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.evaluation.reports.page import picture_url, write_page
from object_pose.simulation.parts.cad import CadPart
from object_pose.simulation.parts.objects import mesh_diameter
from object_pose.simulation.parts.symmetry import (
    EXACT_TOLERANCE,
    FOUND,
    NAMED_AXES,
    SymmetryAxis,
    measured_axes,
    near_axes,
    parse_symmetry,
    surface_motion,
)
from object_pose.simulation.render.mesh import make_render_mesh
from object_pose.simulation.render.object_views import part_picture

# Linear colours of a surface that a turn leaves where it is, of one that it moves, and of the axes.
_STAYS, _MOVES = np.array([0.62, 0.66, 0.7]), np.array([0.85, 0.05, 0.03])
_ROUND, _FOLDED = np.array([0.9, 0.42, 0.02]), np.array([0.02, 0.2, 0.75])
_FINEST, _MOST_FACES = 1.0 / 50.0, 60_000  # edges of what is coloured in diameters, and faces that are cut so fine
_AXIS_RADIUS, _AXIS_LENGTH = 0.012, 1.25  # in diameters
_SAME_TURN_RAD = np.radians(6.0)  # between the samples of a revolution
STATED, NOT_USED = "stated", "not used"


@dataclass(frozen=True)
class PartSymmetry:
    """A part with its symmetry, and in words whether that was ``STATED``, confirmed or only found."""

    part: CadPart
    symmetry: Symmetry
    state: str


@dataclass(frozen=True)
class SymmetryRow:
    """A line of the list: an axis of a part, what its turns move, whether they are used, and options for it."""

    part: str
    text: str
    residual_mm: float
    residual_share: float
    state: str
    picture: str
    options: tuple[tuple[str, str], ...]


def symmetry_rows(parts: Sequence[PartSymmetry]) -> list[SymmetryRow]:
    """Return for each part the axes of its symmetry, and those about which it is symmetric but for a little."""
    return [row for item in parts for row in _rows_of(item)]


def write_symmetries(parts: Sequence[PartSymmetry], path: Path) -> None:
    """Write the page of the symmetries that wait for their confirmation."""
    write_page(
        path,
        "onboarding/symmetries.html",
        kind="symmetries",
        title="Symmetries to confirm",
        cards=[],
        rows=symmetry_rows(parts),
        tolerance=EXACT_TOLERANCE,
    )


def symmetry_picture(part: CadPart, axis: SymmetryAxis) -> Image:
    """Return a picture of a part with an axis; red is what the worst turn moves by its tolerance or more."""
    mesh, diameter = part.mesh, mesh_diameter(np.asarray(part.mesh.vertices))
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    if len(faces) < _MOST_FACES:
        vertices, faces = trimesh.remesh.subdivide_to_size(vertices, faces, _FINEST * diameter, max_iter=20)
    points, distances = surface_motion(mesh, axis.worst)
    _, nearest = cKDTree(points).query(vertices)
    share = np.clip(distances[nearest, None] / (EXACT_TOLERANCE * diameter), 0.0, 1.0)
    rod, rod_faces = _rod(axis, part.box_centre, diameter)
    colors = np.concatenate(
        [_STAYS + share**2 * (_MOVES - _STAYS), np.tile(_FOLDED if axis.folds else _ROUND, (len(rod), 1))]
    )
    drawn = make_render_mesh(
        part.name,
        np.concatenate([vertices, rod]),
        np.concatenate([faces, rod_faces + len(vertices)]),
        colors,
        two_sided=not part.is_closed,
        bake=False,
    )
    return part_picture(drawn)


def _rod(axis: SymmetryAxis, centre: Array, diameter: float) -> tuple[Array, Array]:
    """Return vertices and faces of an axis that reaches out of the part on both sides."""
    middle = axis.point + ((centre - axis.point) @ axis.direction) * axis.direction
    rod = trimesh.creation.cylinder(_AXIS_RADIUS * diameter, _AXIS_LENGTH * diameter, sections=12)
    turn = trimesh.geometry.align_vectors((0.0, 0.0, 1.0), axis.direction)[:3, :3]
    return se3.apply(se3.make_transform(turn, middle), np.asarray(rod.vertices)), np.asarray(rod.faces)


def _rows_of(item: PartSymmetry) -> Iterator[SymmetryRow]:
    part, symmetry = item.part, item.symmetry
    diameter, option = mesh_diameter(np.asarray(part.mesh.vertices)), f"--symmetry {part.name}="
    used = measured_axes(part.mesh, symmetry)[: NAMED_AXES + (symmetry.axis is not None)]
    terms = [axis.term for axis in used if axis.term]
    for axis in used:
        refuse = "refuse", option + _without(part, axis, terms)
        options = (refuse,) if item.state == STATED else (("keep", option + FOUND), refuse)
        yield _row(part, axis, item.state, diameter, options)
    for axis in near_axes(part.mesh, symmetry):
        others = [term for term in terms if term[0] != axis.term[0]]
        yield _row(part, axis, NOT_USED, diameter, (("use", option + ",".join([*others, axis.term])),))


def _row(
    part: CadPart, axis: SymmetryAxis, state: str, diameter: float, options: tuple[tuple[str, str], ...]
) -> SymmetryRow:
    picture = picture_url(symmetry_picture(part, axis))
    share = axis.residual_m / diameter
    return SymmetryRow(part.name, axis.text, 1e3 * axis.residual_m, share, state, picture, options)


def _without(part: CadPart, refused: SymmetryAxis, terms: Sequence[str]) -> str:
    """Return the folds that a round axis has in truth, and the most of ``terms`` that do not make its turn again."""
    kept: list[str] = []
    if refused.term and refused.exact_folds > 1:
        kept.append(f"{refused.term}{refused.exact_folds}")
    for term in terms:
        turns = parse_symmetry(",".join([*kept, term]), part.box_centre).transforms
        if all(se3.rotation_angle(turn[:3, :3], refused.worst[:3, :3]) > _SAME_TURN_RAD for turn in turns):
            kept.append(term)
    return ",".join(kept) or "none"
