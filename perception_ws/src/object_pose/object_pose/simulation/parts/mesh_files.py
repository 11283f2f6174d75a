"""Meshes from files as their formats mean them: bodies in place, colours from wherever they stand, faces outwards."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.simulation.parts.mesh_formats import load_3mf, missing_files
from object_pose.simulation.render.materials import linear_from_srgb

# trimesh makes a picture of this many pixels where a file has texture coordinates but no material.
_STAND_IN_PX = 2
_SAMPLES = 8  # corners of a body that tell whether another one is around it
STEP_SUFFIXES = (".step", ".stp")
_IN_METRES = (*STEP_SUFFIXES, ".3mf")  # these say their unit
_STEP_TOLERANCE_MM, _STEP_SECONDS, _STEP_BYTES = 0.05, 300.0, 8 << 30
_STEP_TO_GLB = f"""
import resource, sys, cascadio
resource.setrlimit(resource.RLIMIT_AS, ({_STEP_BYTES},) * 2)
cascadio.step_to_glb(sys.argv[1], sys.argv[2], tol_linear={_STEP_TOLERANCE_MM})
"""


@dataclass(frozen=True)
class FileMesh:
    """One surface in the unit of its file; ``colors`` (V, 3) are linear RGB, None where the file has none.

    ``notes`` say what was repaired, ``unit`` what the file says of its unit, '' where its format says nothing.
    """

    mesh: trimesh.Trimesh
    colors: Array | None
    notes: tuple[str, ...] = ()
    unit: str = ""


def read_mesh(path: Path, weld: bool = True) -> FileMesh:
    """Read a mesh file of any format that trimesh reads; bodies of a scene are put in their places and joined.

    ``weld`` makes one of equal vertices; without it they keep the file's order. Faces of a closed surface are turned
    outwards. Raises ``DataError`` for a file without a surface.
    """
    try:
        missing = missing_files(path)
        bodies = _load(path, weld)
    except (DataError, ModuleNotFoundError):
        raise
    except Exception as error:  # trimesh's readers raise whatever a damaged file leads to
        raise DataError(f"cannot read {path}: {error}", "export the part again, as STL, PLY, OBJ or GLB") from error
    bodies = [body for body in bodies if isinstance(body, trimesh.Trimesh) and len(body.faces)]
    if any(body.vertices.shape[1:] != (3,) for body in bodies):
        raise DataError(f"{path} has corners without three coordinates", "export the part again")
    if not bodies:
        raise DataError(f"{path} holds no surface", "export the part as a mesh of triangles: STL, PLY, OBJ or GLB")
    colored = [_with_vertex_colors(body) for body in bodies]
    colors = None
    if any(color is not None for _, color in colored):
        white = [np.ones((len(body.vertices), 3)) if color is None else color for body, color in colored]
        colors = np.concatenate(white)
    mesh = _joined([body for body, _ in colored])
    return FileMesh(mesh, colors, (*missing, *_turn_outwards(mesh)), "m" if path.suffix.lower() in _IN_METRES else "")


def _load(path: Path, weld: bool) -> list[Any]:
    """Return the geometries of a file, in their places."""
    suffix = path.suffix.lower()
    if suffix == ".3mf":
        return load_3mf(path)
    loaded = _load_step(path) if suffix in STEP_SUFFIXES else trimesh.load(path, process=weld)
    return list(loaded.dump()) if isinstance(loaded, trimesh.Scene) else [loaded]


def _load_step(path: Path) -> Any:
    """Return the triangles of a STEP file in metres.

    Another process of bounded time and memory makes them, for damaged files end OpenCASCADE or keep it for ever.
    Raises ``ModuleNotFoundError`` without the extra 'step', ``DataError`` for a file without solids.
    """
    if importlib.util.find_spec("cascadio") is None:
        raise ModuleNotFoundError("No module named 'cascadio'", name="cascadio")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "part.glb"
        words = [sys.executable, "-c", _STEP_TO_GLB, str(path.resolve()), str(made)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_STEP_SECONDS)
        if not made.exists():
            raise DataError(f"cannot read {path}: it is no STEP file of a solid", "export the part again, or as STL")
        return trimesh.load(made)


def is_closed(mesh: trimesh.Trimesh) -> bool:
    """Tell whether the surface has no border, vertices that files split for normals or colours taken as one."""
    return bool(_welded(mesh).is_watertight)


def _welded(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    welded = mesh.copy()
    welded.merge_vertices(merge_norm=True, merge_tex=True)
    welded.update_faces((welded.faces != np.roll(welded.faces, 1, axis=1)).all(axis=1))
    return welded


def _joined(bodies: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    if len(bodies) == 1:
        return bodies[0]
    offsets = np.cumsum([0, *(len(body.vertices) for body in bodies[:-1])])
    vertices = np.concatenate([np.asarray(body.vertices) for body in bodies])
    faces = np.concatenate([np.asarray(body.faces) + offset for body, offset in zip(bodies, offsets)])
    return trimesh.Trimesh(vertices, faces, process=False)


def _turn_outwards(mesh: trimesh.Trimesh) -> tuple[str, ...]:
    """Make the faces of each closed body point outwards, in place; an open surface has no outside and stays."""
    welded = _welded(mesh)
    if not len(welded.faces) or not welded.is_watertight:
        return ()
    if not welded.is_winding_consistent:
        # Split vertices hide which faces are neighbours, so the welded surface tells how each face is wound.
        kept = _kept_faces(mesh)
        repaired = welded.copy()
        trimesh.repair.fix_normals(repaired, multibody=True)
        turned = ~_same_winding(welded.faces, repaired.faces)
        faces = np.array(mesh.faces)
        rows = np.flatnonzero(kept)[turned]
        faces[rows] = faces[rows, ::-1]
        mesh.faces = faces
        return (f"{len(rows)} of {len(faces)} faces were turned: their windings contradicted each other",)
    inverted = _inverted_faces(welded)
    if inverted.all():
        mesh.faces = np.asarray(mesh.faces)[:, ::-1]
        return ("all faces pointed inwards and were turned outwards",)
    if inverted.any():
        rows = np.flatnonzero(_kept_faces(mesh))[inverted]
        faces = np.array(mesh.faces)
        faces[rows] = faces[rows, ::-1]
        mesh.faces = faces
        return (f"{len(rows)} of {len(faces)} faces pointed inwards and were turned outwards",)
    return ()


def _inverted_faces(mesh: trimesh.Trimesh) -> NDArray[np.bool_]:
    """Return the faces (F,) that must be turned: all where every outer body points inwards, else those of such bodies.

    A body that another one is around may be a cavity and stays as it is.
    """
    labels = trimesh.graph.connected_component_labels(mesh.face_adjacency, node_count=len(mesh.faces))
    triangles = np.asarray(mesh.triangles)
    volumes = np.bincount(labels, np.einsum("fi,fi->f", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])))
    points_inwards = volumes < 0.0
    if not points_inwards.any() or points_inwards.all():
        return points_inwards[labels]
    is_outer = np.array([not _is_enclosed(labels == body, triangles) for body in range(len(volumes))])
    if points_inwards[is_outer].all():
        return np.ones(len(labels), dtype=bool)
    return np.asarray((points_inwards & is_outer)[labels])


def _is_enclosed(own: NDArray[np.bool_], triangles: Array) -> bool:
    """Return whether the other triangles (F, 3, 3) are around corners of a body's own ones."""
    corners = triangles[own][:, 0]
    sample = corners[:: max(1, len(corners) // _SAMPLES)]
    return any(abs(_winding_number(corner, triangles[~own])) > 0.5 for corner in sample)


def _winding_number(point: Array, triangles: Array) -> float:
    """Return how often triangles (F, 3, 3) wind around a point: 1 inside a closed surface, 0 outside.

    The solid angle of a triangle is that of A. Van Oosterom and J. Strackee, IEEE Trans. Biomed. Eng., 1983.
    """
    a, b, c = np.moveaxis(triangles - point, 1, 0)
    lengths = [np.linalg.norm(corner, axis=1) for corner in (a, b, c)]
    above = np.einsum("fi,fi->f", a, np.cross(b, c))
    below = np.prod(lengths, axis=0)
    for (first, second), other in zip(((a, b), (b, c), (c, a)), (lengths[2], lengths[0], lengths[1])):
        below = below + np.einsum("fi,fi->f", first, second) * other
    return float(np.arctan2(above, below).sum() / (2.0 * np.pi))


def _kept_faces(mesh: trimesh.Trimesh) -> NDArray[np.bool_]:
    """Return which faces welding keeps: those whose corners are at three places."""
    places = np.unique(np.asarray(mesh.vertices), axis=0, return_inverse=True)[1].reshape(-1)
    corners = places[np.asarray(mesh.faces)]
    return np.asarray((corners != np.roll(corners, 1, axis=1)).all(axis=1))


def _same_winding(first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return for faces (F, 3) of equal corners whether they run round the same way."""
    turns = np.stack([np.roll(first, shift, axis=1) for shift in range(3)])
    return np.asarray((turns == second).all(axis=2).any(axis=0))


def _with_vertex_colors(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, Array | None]:
    """Return a mesh whose vertices have linear colours (V, 3), split where neighbouring faces differ; None for none."""
    visual = mesh.visual
    if visual.kind == "vertex":
        return mesh, _linear(visual.vertex_colors)
    if visual.kind == "face":
        return _split_by_face_color(mesh, np.asarray(visual.face_colors))
    if visual.kind != "texture":
        return mesh, None
    color = _material_color(visual)
    if color is None:
        return mesh, None
    return mesh, np.broadcast_to(_linear(color), (len(mesh.vertices), 3)).copy()


def _split_by_face_color(mesh: trimesh.Trimesh, face_colors: NDArray[np.uint8]) -> tuple[trimesh.Trimesh, Array]:
    kinds, kind_of_face = np.unique(face_colors[:, :3], axis=0, return_inverse=True)
    faces = np.asarray(mesh.faces)
    keys = faces * len(kinds) + kind_of_face.reshape(-1, 1)
    unique, corners = np.unique(keys, return_inverse=True)
    vertices = np.asarray(mesh.vertices)[unique // len(kinds)]
    split = trimesh.Trimesh(vertices, corners.reshape(faces.shape), process=False)
    return split, _linear(kinds[unique % len(kinds)])


def _material_color(visual: Any) -> NDArray[np.uint8] | None:
    """Return a textured mesh's colours (V, 4) or (4,), None where the file states no material."""
    material = visual.material
    if isinstance(material, trimesh.visual.material.PBRMaterial):
        image = material.baseColorTexture
        if image is None and material.baseColorFactor is None:
            return None
    else:
        image = material.image
        if image is not None and max(image.size) <= _STAND_IN_PX and not material.kwargs:
            return None
        if image is None and not material.kwargs:
            return None
    if image is None or visual.uv is None or len(visual.uv) == 0:
        return np.asarray(material.main_color, dtype=np.uint8)
    return np.asarray(visual.to_color().vertex_colors, dtype=np.uint8)


def _linear(colors: NDArray[np.generic]) -> Array:
    """Return sRGB bytes (..., 3 or 4) as linear RGB."""
    return np.asarray(linear_from_srgb(np.asarray(colors)[..., :3] / 255.0))
