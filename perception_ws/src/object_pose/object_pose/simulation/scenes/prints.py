"""Prints on objects without colours of their own: pictures as colours of the vertices of a finely divided mesh."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image
from object_pose.simulation.render.materials import linear_from_srgb
from object_pose.simulation.render.mesh import RenderMesh

_FINEST_SHARE = 0.04  # of the extent, that an edge may be long in a print
_MOST_FACES = 20_000
_REPEATS = (0.2, 1.5)  # of a picture along the object's extent
_TO_LINEAR = linear_from_srgb(np.arange(256) / 255.0).astype(np.float32)


def divided(mesh: RenderMesh) -> RenderMesh:
    """Return the mesh with its long edges halved until all are short enough for a print, or there are too many faces.

    Faces of short edges, such as those of fillets, stay as they are.
    """
    finest = _FINEST_SHARE * float(np.ptp(mesh.vertices, axis=0).max())
    while True:
        lengths = _edge_lengths(mesh)
        longest = float(lengths.max())
        # The longest first, so that those left where there are too many faces are about equally long.
        is_long = lengths > max(finest, 0.6 * longest)
        if longest <= finest or len(mesh.faces) + np.count_nonzero(is_long) > _MOST_FACES:
            return mesh
        mesh = _halved(mesh, is_long)


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


def _edge_lengths(mesh: RenderMesh) -> Array:
    """Return the lengths (F, 3) of the edges from each corner of the faces to the next."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    return np.asarray(np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2))


def _halved(mesh: RenderMesh, is_split: NDArray[np.bool_]) -> RenderMesh:
    """Return the mesh with new vertices in the middle of edges, (F, 3) from each corner to the next."""
    ends = np.sort(np.stack([mesh.faces, np.roll(mesh.faces, -1, axis=1)], axis=2)[is_split], axis=1)
    edges, number = np.unique(ends, axis=0, return_inverse=True)
    middles = np.full(mesh.faces.shape, -1)
    middles[is_split] = len(mesh.vertices) + number.reshape(-1)
    normals = np.concatenate([mesh.normals, mesh.normals[edges].mean(axis=1)])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return dataclasses.replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, mesh.vertices[edges].mean(axis=1)]),
        faces=_split_faces(mesh.faces, middles).astype(np.int32),
        normals=normals,
        colors=np.concatenate([mesh.colors, mesh.colors[edges].mean(axis=1)]),
        ambient_occlusion=np.concatenate([mesh.ambient_occlusion, mesh.ambient_occlusion[edges].mean(axis=1)]),
    )


def _split_faces(faces: NDArray[np.integer], middles: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return faces (G, 3) in the place of (F, 3), split at ``middles`` (F, 3) of their edges, -1 for none."""
    counts = (middles >= 0).sum(axis=1)
    # Turned so that the edges that are split come first; of one or two that is the same turn for all.
    is_split = middles >= 0
    first = np.where(counts == 2, (np.argmin(is_split, axis=1) + 1) % 3, np.argmax(is_split, axis=1))
    turn = (first[:, None] + np.arange(3)) % 3
    (a, b, c), (ab, bc, ca) = np.take_along_axis(faces, turn, axis=1).T, np.take_along_axis(middles, turn, axis=1).T
    pieces = {
        0: [(a, b, c)],
        1: [(a, ab, c), (ab, b, c)],
        2: [(ab, b, bc), (a, ab, bc), (a, bc, c)],
        3: [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)],
    }
    return np.concatenate(
        [np.stack(corners, axis=1)[counts == count] for count, faces_of in pieces.items() for corners in faces_of]
    )
