"""Scene objects from a BOP models folder: PLY meshes in millimetres and models_info.json with symmetries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from object_pose.core.errors import DataError
from object_pose.core.pose.contour import cell_keys
from object_pose.io.bop import MM, read_models_info
from object_pose.simulation.parts.objects import SceneObject, object_model
from object_pose.simulation.render.mesh import make_render_mesh
from object_pose.simulation.render.textures import linear_from_srgb

Array = NDArray[np.float64]

_SCAN_CREASE_DEG = 75.0


def bop_object_name(object_id: int) -> str:
    """Return the name of a BOP object's model file, without the ending."""
    return f"obj_{object_id:06d}"


def load_bop_objects(
    models_dir: Path, names: Mapping[int, str] | None = None, max_faces: int = 12000
) -> list[SceneObject]:
    """Read every model of ``models_dir`` in its own BOP frame, in metres; class ids follow ascending object ids.

    ``names`` gives readable names to object ids; without one an object is called as models_info.json or else its file
    says. Meshes of more than ``max_faces`` are drawn simplified, the pose head's model is taken from the full mesh.
    Raises ``DataError`` for missing or broken files.
    """
    objects = []
    for object_id, info in sorted(read_models_info(models_dir / "models_info.json").items()):
        name = (names or {}).get(object_id) or info.name or bop_object_name(object_id)
        mesh, colors = _read_ply(models_dir / f"{bop_object_name(object_id)}.ply")
        is_open = not is_closed(mesh)
        model = object_model(name, mesh, info.symmetry, info.diameter, two_sided=is_open)
        vertices, faces, colors = simplify(np.asarray(mesh.vertices), np.asarray(mesh.faces), colors, max_faces)
        drawn = make_render_mesh(name, vertices, faces, colors, two_sided=is_open, crease_deg=_SCAN_CREASE_DEG)
        objects.append(SceneObject(drawn, model))
    return objects


def simplify(
    vertices: Array, faces: NDArray[np.int64], colors: Array, max_faces: int
) -> tuple[Array, NDArray[np.int64], Array]:
    """Merge neighbouring vertices, as few as needed, until at most ``max_faces`` remain; colours are averaged."""
    if len(faces) <= max_faces:
        return vertices, faces, colors
    extent = float(np.ptp(vertices, axis=0).max())
    fine, coarse = extent / 1000.0, extent / 4.0
    for _ in range(10):
        cell = np.sqrt(fine * coarse)
        if len(_merge(vertices, faces, cell)[1]) > max_faces:
            fine = cell
        else:
            coarse = cell
    cluster, merged = _merge(vertices, faces, coarse)
    counts = np.bincount(cluster)[:, None]
    sums = [np.stack([np.bincount(cluster, column) for column in values.T], axis=1) for values in (vertices, colors)]
    return sums[0] / counts, merged, sums[1] / counts


def _merge(vertices: Array, faces: NDArray[np.int64], cell: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cluster of every vertex on a grid of ``cell`` and the faces that keep three different corners."""
    grid = np.floor((vertices - vertices.min(axis=0)) / cell).astype(np.int64)
    cluster = np.unique(cell_keys(grid), return_inverse=True)[1].reshape(-1)
    merged = cluster[faces]
    a, b, c = merged.T
    merged = merged[(a != b) & (b != c) & (c != a)]
    rotated = np.take_along_axis(merged, (merged.argmin(axis=1)[:, None] + np.arange(3)) % 3, axis=1)
    count = len(vertices)
    first = np.unique((rotated[:, 0] * count + rotated[:, 1]) * count + rotated[:, 2], return_index=True)[1]
    return cluster, rotated[first]


def is_closed(mesh: trimesh.Trimesh) -> bool:
    """Tell whether the surface has no border, vertices that files split for normals or colours taken as one."""
    welded = mesh.copy()
    welded.merge_vertices(merge_norm=True, merge_tex=True)
    welded.update_faces((welded.faces != np.roll(welded.faces, 1, axis=1)).all(axis=1))
    return bool(welded.is_watertight)


def _read_ply(path: Path) -> tuple[trimesh.Trimesh, Array]:
    """Read a PLY model: mesh in metres and linear vertex colours (V, 3), grey where it has none."""
    try:
        mesh = trimesh.load(path, process=False, force="mesh")
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"cannot read model {path}: {error}") from error
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise DataError(f"model {path} has no faces")
    colors = np.full((len(mesh.vertices), 3), 0.4)
    if mesh.visual.kind == "vertex":
        colors = linear_from_srgb(np.asarray(mesh.visual.vertex_colors)[:, :3] / 255.0)
    mesh.apply_scale(MM)
    return mesh, colors
