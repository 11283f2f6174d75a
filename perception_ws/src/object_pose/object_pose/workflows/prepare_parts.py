"""CAD files made ready to be matched without training: symmetries, views and surfaces, kept in the user's cache."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from object_pose.core.object_model import TriangleMesh
from object_pose.io.files import replacing
from object_pose.runtime import parts_file
from object_pose.runtime.engine_choice import default_cache
from object_pose.runtime.parts_file import PartsFile
from object_pose.runtime.view_cache import cached_view_models
from object_pose.simulation.parts import objects as part_objects
from object_pose.simulation.parts.cad import CadPart, read_parts, stated_symmetries
from object_pose.simulation.parts.objects import simplify
from object_pose.simulation.parts.symmetry import describe_symmetry, find_symmetry
from object_pose.workflows.progress import ProgressCallback, ignore_progress, reported

_MOST_FACES = 3000  # of a surface that is drawn at each pose


@dataclass(frozen=True)
class PreparePartsConfig:
    """CAD files; ``symmetries`` are stated by part name in the notation of ``parse_symmetry``, others are found."""

    parts: tuple[Path, ...]
    unit: str = ""
    centred: bool = False
    symmetries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PreparedParts:
    """The parts file, and of each part in words its size and symmetry; ``prepare_s`` is empty where it was kept."""

    path: Path
    notes: tuple[str, ...]
    prepare_s: Mapping[str, float]


def prepare_parts(
    config: PreparePartsConfig, cache: Path | None = None, progress: ProgressCallback = ignore_progress
) -> PreparedParts:
    """Return the parts file of CAD files, made now or kept in ``cache`` (default: the user's) from before.

    Raises ``DataError`` for a file that cannot be used, ``ConfigError`` where the unit is not clear.
    """
    parts = read_parts(config.parts, config.unit, config.centred)
    cache = cache or default_cache().parent
    file = cache / "parts" / f"{_key(parts, config)}{parts_file.SUFFIX}"
    prepare_s: dict[str, float] = {}
    if not file.exists():
        stated = stated_symmetries(parts, config.symmetries)
        objects, meshes = [], []
        for part in reported(parts, progress, "preparing parts", len(parts), "part"):
            start = time.perf_counter()
            symmetry = stated[part.name] if part.name in stated else find_symmetry(part.mesh).symmetry
            item = part.scene_object(symmetry)
            cached_view_models([item.model], cache / "views")
            objects.append(item.model)
            meshes.append(_surface(part))
            prepare_s[part.name] = time.perf_counter() - start
        with replacing(file) as temporary:
            PartsFile.of(objects, meshes, data=", ".join(str(path) for path in config.parts)).write(temporary)
    notes = tuple(
        f"{model.name}: {' x '.join(f'{1e3 * side:.1f}' for side in model.box_size)} mm, "
        f"symmetry {describe_symmetry(model.symmetry)}"
        for model in PartsFile.read(file).card.objects
    )
    return PreparedParts(file, notes, prepare_s)


def _surface(part: CadPart) -> TriangleMesh:
    vertices, faces = np.asarray(part.mesh.vertices, dtype=np.float64), np.asarray(part.mesh.faces)
    vertices, faces, _ = simplify(vertices, faces, np.zeros((len(vertices), 3)), _MOST_FACES)
    return TriangleMesh(vertices.astype(np.float32), faces.astype(np.int32))


def _key(parts: list[CadPart], config: PreparePartsConfig) -> str:
    """Return what the file depends on, as one word: the surfaces, names and stated symmetries, and how it is made."""
    made_by = parts_file.__file__, part_objects.__file__, __file__
    digest = hashlib.sha256(b"".join(Path(file).read_bytes() for file in made_by))
    for part in parts:
        digest.update(f"{part.name} {part.unit} {config.symmetries.get(part.name)}".encode())
        digest.update(np.ascontiguousarray(part.mesh.vertices).tobytes())
        digest.update(np.ascontiguousarray(part.mesh.faces).tobytes())
    return digest.hexdigest()[:24]
