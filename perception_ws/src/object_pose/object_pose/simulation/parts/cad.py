"""CAD files as parts: read, checked for what breaks training later, and brought to metres."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh

from object_pose.core.arrays import Array
from object_pose.core.errors import ConfigError, DataError
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.simulation.parts.mesh_files import FileMesh, is_closed, read_mesh
from object_pose.simulation.parts.objects import SceneObject, mesh_diameter, object_model
from object_pose.simulation.parts.symmetry import FOUND, parse_symmetry
from object_pose.simulation.render.mesh import make_render_mesh

UNITS = {"mm": 1e-3, "m": 1.0, "cm": 1e-2, "inch": 0.0254}
_SURELY = {"mm": (10.0, 2000.0), "m": (0.01, 1.0)}
_SMALLEST_M, _LARGEST_M = 0.01, 1.5
_FAR_DIAMETERS = 2.0
_FLAT_SHARE = 1e-3
_FEWEST_FACES = 4
_FARTHEST = 1e9  # of a corner from the origin, in any unit


@dataclass(frozen=True)
class CadPart:
    """A part from a file: closed or open ``mesh`` in metres, in the file's own frame unless it was centred.

    ``colors`` (V, 3) are linear RGB, None where the file has none; ``notes`` say what was repaired.
    """

    name: str
    path: Path
    unit: str
    mesh: trimesh.Trimesh
    is_closed: bool
    colors: Array | None
    notes: tuple[str, ...] = ()

    @property
    def size_m(self) -> Array:
        """Length of the box along x, y, z in metres, (3,)."""
        return np.asarray(self.mesh.extents, dtype=np.float64)

    @property
    def box_centre(self) -> Array:
        """Middle of the box in metres, (3,)."""
        return np.asarray(self.mesh.bounds, dtype=np.float64).mean(axis=0)

    def scene_object(self, symmetry: Symmetry) -> SceneObject:
        """Return what scenes draw and the pose solver knows; white where the file has no colours."""
        vertices, faces = np.asarray(self.mesh.vertices), np.asarray(self.mesh.faces)
        open_surface = not self.is_closed
        drawn = make_render_mesh(self.name, vertices, faces, self.colors, two_sided=open_surface, bake=False)
        return SceneObject(drawn, object_model(self.name, self.mesh, symmetry, two_sided=open_surface))


def read_parts(paths: Sequence[Path], unit: str = "", centred: bool = False) -> list[CadPart]:
    """Read CAD files; ``unit`` is of ``UNITS``, '' where sizes shall tell; ``centred`` moves origins to box centres.

    STEP and 3MF files say their unit themselves. Parts are called as their files. Raises ``DataError`` for a file that
    cannot be used, ``ConfigError`` where the unit is not clear or two files have one name.
    """
    names = [_part_name(path) for path in paths]
    for name in names:
        if names.count(name) > 1:
            same = ", ".join(str(path) for path, other in zip(paths, names) if other == name)
            raise ConfigError(f"two parts would be called '{name}': {same}", "rename a file")
    files = [_read_solid(path) for path in paths]
    untold = [(path, file.mesh) for path, file in zip(paths, files) if not file.unit]
    unit = unit or (_guessed_unit(untold) if untold else "")
    return [_part(name, path, file.unit or unit, file, centred) for name, path, file in zip(names, paths, files)]


def stated_symmetries(parts: Sequence[CadPart], texts: Mapping[str, str]) -> dict[str, Symmetry]:
    """Return the symmetries that ``texts`` state by part name, see ``parse_symmetry``; raises ``ConfigError``.

    What is stated as ``FOUND`` is left to be found.
    """
    centres = {part.name: part.box_centre for part in parts}
    for name, text in texts.items():
        if name not in centres:
            raise ConfigError(f"--symmetry {name}={text} names no part", f"parts: {', '.join(centres)}")
    return {name: parse_symmetry(text, centres[name]) for name, text in texts.items() if text != FOUND}


def _part_name(path: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.stem).strip("_").lower()
    if not name:
        raise ConfigError(f"{path} gives no name for a part", "rename the file with letters or digits")
    return name


def _read_solid(path: Path) -> FileMesh:
    """Read a file that holds a solid part."""
    if not path.is_file():
        raise DataError(f"{path} does not exist", "name STL, PLY, OBJ, OFF, GLB, 3MF or STEP files")
    read = read_mesh(path)
    mesh = read.mesh
    if not (np.abs(mesh.vertices) < _FARTHEST).all():
        raise DataError(f"{path} has corners that are no finite or sensible numbers", "export the part again")
    if len(mesh.faces) < _FEWEST_FACES:
        raise DataError(f"{path} holds no surface of a solid: {len(mesh.faces)} triangles", "export the part again")
    if _is_flat(mesh):
        raise DataError(f"{path} is flat: {_sizes(mesh.extents)} in its own unit", "pose needs a solid part")
    return read


def _is_flat(mesh: trimesh.Trimesh) -> bool:
    """Tell whether the surface has hardly any extent along one of its principal axes."""
    longest = float(mesh.extents.max())
    if longest <= 0.0:
        return True
    corners = np.asarray(mesh.vertices)[np.unique(mesh.faces)]
    scaled = (corners - corners.mean(axis=0)) / longest
    _, axes = np.linalg.eigh(scaled.T @ scaled)
    return bool(np.ptp(scaled @ axes, axis=0).min() <= _FLAT_SHARE)


def _guessed_unit(files: Sequence[tuple[Path, trimesh.Trimesh]]) -> str:
    """Return the only unit in which every part is of a usual size."""
    longest = [float(mesh.extents.max()) for _, mesh in files]
    likely = [unit for unit, (low, high) in _SURELY.items() if all(low <= length <= high for length in longest)]
    if len(likely) != 1:
        lengths = ", ".join(f"{path.name} {length:.4g}" for (path, _), length in zip(files, longest))
        message = f"the unit of the files is not clear (longest sides: {lengths})"
        raise ConfigError(message, f"say --unit {', '.join(UNITS)}")
    return likely[0]


def _part(name: str, path: Path, unit: str, file: FileMesh, centred: bool) -> CadPart:
    mesh = trimesh.Trimesh(np.asarray(file.mesh.vertices) * UNITS[unit], file.mesh.faces, process=False)
    longest = float(mesh.extents.max())
    if not _SMALLEST_M <= longest <= _LARGEST_M:
        limits = f"{_SMALLEST_M * 1e3:.0f} to {_LARGEST_M * 1e3:.0f} mm"
        size = f"{_sizes(mesh.extents * 1e3)} mm in unit '{unit}'"
        raise DataError(f"{path} is {size}", f"parts may be {limits} long; is --unit right?")
    middle = mesh.bounds.mean(axis=0)
    if centred:
        mesh.apply_translation(-middle)
    elif np.linalg.norm(middle) > _FAR_DIAMETERS * mesh_diameter(np.asarray(mesh.vertices)):
        raise DataError(
            f"{path} lies {np.linalg.norm(middle) * 1e3:.0f} mm away from its own origin, which poses would be of",
            "move the origin in CAD, or say --centred",
        )
    return CadPart(name, path, unit, mesh, is_closed(mesh), file.colors, file.notes)


def _sizes(extents: Array) -> str:
    return " x ".join(f"{extent:.4g}" for extent in extents)
