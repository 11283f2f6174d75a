"""Prints on objects whose files have no colours: pictures as colours of the vertices of a finely divided mesh."""

from __future__ import annotations

import dataclasses

import numpy as np
import trimesh

from object_pose.core.arrays import Image
from object_pose.simulation.render.materials import linear_from_srgb
from object_pose.simulation.render.mesh import RenderMesh

_FINEST_SHARE = 0.04  # of the extent, that an edge may be long in a print
_MOST_FACES = 20_000
_REPEATS = (0.2, 1.5)  # of a picture along the object's extent
_TO_LINEAR = linear_from_srgb(np.arange(256) / 255.0).astype(np.float32)


def divided(mesh: RenderMesh) -> RenderMesh:
    """Return the mesh with its faces halved until they are fine enough for a print, or there are too many."""
    while (
        4 * len(mesh.faces) <= _MOST_FACES and _longest_edge(mesh) > _FINEST_SHARE * np.ptp(mesh.vertices, axis=0).max()
    ):
        kept = {"normals": mesh.normals, "colors": mesh.colors, "sky": mesh.ambient_occlusion[:, None]}
        vertices, faces, values = trimesh.remesh.subdivide(mesh.vertices, mesh.faces, vertex_attributes=kept)
        mesh = dataclasses.replace(
            mesh,
            vertices=np.ascontiguousarray(vertices, dtype=np.float32),
            faces=np.ascontiguousarray(faces, dtype=np.int32),
            normals=np.ascontiguousarray(values["normals"], dtype=np.float32),
            colors=np.ascontiguousarray(values["colors"], dtype=np.float32),
            ambient_occlusion=np.ascontiguousarray(values["sky"][:, 0], dtype=np.float32),
        )
    return mesh


def printed(mesh: RenderMesh, picture: Image, rng: np.random.Generator) -> RenderMesh:
    """Return the mesh with a picture (S, S, 3) sRGB printed on it along its axes, each side with another part of it."""
    side = len(picture)
    scale = rng.uniform(*_REPEATS) * side / max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-6)
    axis = np.abs(mesh.normals).argmax(axis=1)
    along = mesh.vertices[np.arange(len(axis))[:, None], (axis[:, None] + np.array([1, 2])) % 3]
    sides = 2 * axis + (np.take_along_axis(mesh.normals, axis[:, None], axis=1)[:, 0] > 0.0)
    shifts = rng.uniform(0.0, side, (6, 2))
    places = (along * scale + shifts[sides]).astype(np.int64) % side
    return dataclasses.replace(mesh, colors=_TO_LINEAR[picture[places[:, 0], places[:, 1]]])


def _longest_edge(mesh: RenderMesh) -> float:
    corners = mesh.vertices[mesh.faces]
    return float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max())
