"""Objects that scenes are made of, procedural parts or BOP models: a mesh to draw, a model for the solver."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from object_pose.core.arrays import Array
from object_pose.core.geometry.stable_poses import StableRotations, stable_rotations
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.contour import cell_keys, even_sample
from object_pose.io.bop import MM, read_models_info
from object_pose.simulation.parts.mesh_files import is_closed, read_mesh
from object_pose.simulation.parts.procedural import PART_NAMES, build_part
from object_pose.simulation.render.materials import Material
from object_pose.simulation.render.mesh import RenderMesh, face_normals, make_render_mesh, vertex_views

_SURFACE_POINTS = 800
_CANDIDATES_PER_POINT = 6
_DENSE_POINTS, _DENSE_CANDIDATES = 4000, 40_000
_SHARP_DEG = 30.0
_PLAIN_RANGE = 0.02  # in which all colours of a mesh count as one
_MIN_VIEWS = 3


@dataclass(frozen=True)
class SceneObject:
    """A drawable class: ``mesh`` and ``model`` share a frame; an empty ``palette`` keeps the mesh's own colours."""

    mesh: RenderMesh
    model: ObjectModel
    palette: tuple[Material, ...] = ()

    @cached_property
    def plain_color(self) -> Array | None:
        """The linear RGB colour (3,) that all of the mesh has; None where it has several, or a palette."""
        colors = np.asarray(self.mesh.colors, dtype=np.float64)
        is_plain = not self.palette and np.ptp(colors, axis=0).max() <= _PLAIN_RANGE
        return np.asarray(colors.mean(axis=0)) if is_plain else None

    @cached_property
    def stable_rotations(self) -> StableRotations:
        """How the object can lie on a plane."""
        return stable_rotations(np.asarray(self.mesh.vertices, dtype=np.float64))


def object_model(
    name: str, mesh: trimesh.Trimesh, symmetry: Symmetry, diameter: float | None = None, *, two_sided: bool = False
) -> ObjectModel:
    """Describe a mesh (metres) to the pose solver: 8 box corners as keypoints, 800 surface points visible from outside.

    The keypoints run over (min, max) of x, y, z with x slowest. The result is deterministic.
    """
    vertices = np.asarray(mesh.vertices, dtype=np.float64)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    points, normals = _surface_points(vertices, np.asarray(mesh.faces), two_sided)
    return ObjectModel(
        name=name,
        keypoints_object=np.array(list(itertools.product(*zip(low, high)))),
        points_object=points,
        normals_object=normals,
        box_center=0.5 * (low + high),
        box_size=high - low,
        diameter=mesh_diameter(vertices) if diameter is None else diameter,
        symmetry=symmetry,
        surface_object=_dense_surface(mesh),
    )


def mesh_diameter(vertices: Array) -> float:
    """Return the greatest distance between two of (V, 3) vertices."""
    return float(pdist(vertices[ConvexHull(vertices).vertices]).max())


@cache
def part_object(name: str) -> SceneObject:
    """Build the named procedural part as a scene object."""
    part = build_part(name)
    mesh = make_render_mesh(name, np.asarray(part.mesh.vertices), np.asarray(part.mesh.faces))
    return SceneObject(mesh, object_model(name, part.mesh, part.symmetry), part.palette)


def part_objects(names: Sequence[str] = PART_NAMES) -> tuple[SceneObject, ...]:
    """Build the procedural parts as scene objects, class ids in the order of ``names``."""
    return tuple(part_object(name) for name in names)


def _surface_points(vertices: Array, faces: NDArray[np.int64], two_sided: bool) -> tuple[Array, Array]:
    """Sample evenly spaced points (N, 3) of the outer surface and their outward unit normals (N, 3)."""
    points, point_normals = _random_points(vertices, faces, _SURFACE_POINTS * _CANDIDATES_PER_POINT)
    views = vertex_views(
        vertices.astype(np.float32), point_normals, faces.astype(np.int32), two_sided, points.astype(np.float32)
    )
    outside = views.sum(axis=1) >= _MIN_VIEWS
    chosen = _farthest_points(points[outside], _SURFACE_POINTS)
    return points[outside][chosen], point_normals[outside][chosen]


def _random_points(vertices: Array, faces: NDArray[np.int64], count: int) -> tuple[Array, Array]:
    """Draw points (N, 3) of a mesh's surface, evenly by area, with their unit normals (N, 3); deterministic."""
    rng = np.random.default_rng(0)
    normals = face_normals(vertices, faces)
    doubled_area = np.linalg.norm(normals, axis=1)
    picked = rng.choice(len(faces), size=count, p=doubled_area / doubled_area.sum())
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1.0, 1.0 - u, u), np.where(u + v > 1.0, 1.0 - v, v)
    corners = vertices[faces[picked]]
    points = corners[:, 0] + u * (corners[:, 1] - corners[:, 0]) + v * (corners[:, 2] - corners[:, 0])
    return points, normals[picked] / doubled_area[picked, None]


def _dense_surface(mesh: trimesh.Trimesh) -> Array:
    """Return some ``_DENSE_POINTS`` points (N, 3) of the surface, inner or outer, on sharp edges wherever there are.

    A contour mostly runs along edges, and points beside them would make it too small.
    """
    sharp = mesh.face_adjacency_edges[mesh.face_adjacency_angles > np.radians(_SHARP_DEG)]
    ends = np.asarray(mesh.vertices, dtype=np.float64)[sharp]
    points, _ = _random_points(np.asarray(mesh.vertices), np.asarray(mesh.faces), _DENSE_CANDIDATES)
    return even_sample(np.concatenate([_along(ends), points]), _DENSE_POINTS)


def _along(ends: Array) -> Array:
    """Return points (N, 3) along the lines between pairs of points (E, 2, 3), in all ``_DENSE_CANDIDATES`` or more."""
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    counts = np.ceil(_DENSE_CANDIDATES * lengths / max(float(lengths.sum()), 1e-12)).astype(np.intp)
    line = np.repeat(np.arange(len(ends)), counts)
    first = np.cumsum(counts) - counts
    share = (np.arange(len(line)) - first[line] + 0.5) / counts[line]
    return np.asarray(ends[line, 0] + share[:, None] * (ends[line, 1] - ends[line, 0]))


def _farthest_points(points: Array, count: int) -> NDArray[np.int64]:
    """Return indices of ``count`` points, each as far as possible from those before it."""
    chosen = np.zeros(min(count, len(points)), dtype=np.int64)
    distance = np.full(len(points), np.inf)
    for index in range(1, len(chosen)):
        distance = np.minimum(distance, np.sum((points - points[chosen[index - 1]]) ** 2, axis=1))
        chosen[index] = int(np.argmax(distance))
    return chosen


_SCAN_CREASE_DEG = 75.0
_UNCOLOURED = 0.4  # linear grey of models without colours


def bop_object_name(object_id: int) -> str:
    """Return the name of a BOP object's model file, without the ending."""
    return f"obj_{object_id:06d}"


def load_bop_objects(
    models_dir: Path, names: Mapping[int, str] | None = None, max_faces: int = 12000
) -> list[SceneObject]:
    """Read every model of ``models_dir`` in its own BOP frame, in metres; class ids follow ascending object ids.

    ``names`` gives readable names to object ids; without one an object is called as models_info.json or else its file
    says. Meshes of more than ``max_faces`` are drawn simplified, the solver's model is taken from the full mesh.
    Raises ``DataError`` for missing or broken files.
    """
    objects = []
    for object_id, info in sorted(read_models_info(models_dir / "models_info.json").items()):
        name = (names or {}).get(object_id) or info.name or bop_object_name(object_id)
        file = read_mesh(models_dir / f"{bop_object_name(object_id)}.ply", weld=False)
        mesh = file.mesh.apply_scale(MM)
        colors = np.full((len(mesh.vertices), 3), _UNCOLOURED) if file.colors is None else file.colors
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


PARTS = "parts"


def load_objects(source: str) -> tuple[SceneObject, ...]:
    """Return the objects of ``source``: 'parts', or a folder of BOP models; class ids in the order of the result."""
    if source == PARTS:
        return part_objects()
    return tuple(load_bop_objects(Path(source)))
