"""Part instances for inspection: each is made twice, whole and damaged, in one object frame.

Instances come in production lots. A lot's parts and damages follow from its number alone, so data with other lots show
other parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from manifold3d import Manifold

from object_pose.core.arrays import Array, Image
from object_pose.simulation.parts import gears_springs, solids
from object_pose.simulation.render import materials
from object_pose.simulation.render.materials import Material
from object_pose.simulation.render.mesh import RenderMesh, make_render_mesh

Kind = Literal["gear", "spring"]

KINDS: tuple[Kind, ...] = ("gear", "spring")
DAMAGES = (*gears_springs.GEAR_DAMAGES, *gears_springs.SPRING_DAMAGES)
PARTS_PER_KIND = 10
_DAMAGES_PER_PART = 2
_SURFACES = 6

PALETTES: dict[Kind, tuple[Material, ...]] = {
    "gear": (materials.STEEL, materials.GROUND_STEEL, materials.BLACK_OXIDE, materials.BRASS, materials.BRONZE),
    "spring": (materials.GROUND_STEEL, materials.STEEL, materials.ZINC, materials.YELLOW_ZINC, materials.BLACK_OXIDE),
}


@dataclass(frozen=True)
class PartTwin:
    """One part whole and damaged; both meshes in metres, their axis along z.

    ``zones`` (K, 8, 3) are corners of boxes about the damage; ``up_angle`` is the angle about z, in radians, that must
    face the camera for the damage to be seen, None where it shows from all sides.
    """

    kind: Kind
    damage: str
    whole: RenderMesh
    damaged: RenderMesh
    zones: Array
    up_angle: float | None = None


def gear_twin(rng: np.random.Generator, damage_rng: np.random.Generator) -> PartTwin:
    """Draw a gear from ``rng`` and what happened to it from ``damage_rng``."""
    shape = gears_springs.draw_gear(rng)
    damage = gears_springs.draw_tooth_damage(shape, damage_rng)
    whole, damaged = gears_springs.gear_solid(shape), gears_springs.gear_solid(shape, damage)
    return PartTwin("gear", damage.kind, _mesh(whole), _mesh(damaged), gears_springs.tooth_zones(shape, damage) * 1e-3)


def spring_twin(rng: np.random.Generator, damage_rng: np.random.Generator) -> PartTwin:
    """Draw a spring from ``rng`` and what happened to it from ``damage_rng``."""
    shape = gears_springs.draw_spring(rng)
    damage = gears_springs.draw_coil_damage(shape, damage_rng)
    whole, damaged = gears_springs.spring_solid(shape), gears_springs.spring_solid(shape, damage)
    up = gears_springs.gap_direction(shape, damage) if damage.kind == "broken_coil" else None
    return PartTwin(
        "spring", damage.kind, _mesh(whole), _mesh(damaged), gears_springs.coil_zone(shape, damage) * 1e-3, up
    )


def _mesh(solid: Manifold) -> RenderMesh:
    vertices, faces = solids.triangles(solid)
    return make_render_mesh("part", vertices * 1e-3, faces)


class Lot:
    """The parts of one production lot, built when first asked for, and the surfaces that they lie on."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._twins: dict[tuple[Kind, int, int], PartTwin] = {}
        self._surfaces: dict[int, Image] = {}

    def twin(self, kind: Kind, index: int, variant: int) -> PartTwin:
        """Return part ``index`` < PARTS_PER_KIND of the lot with one of its damages."""
        key = (kind, index, variant % _DAMAGES_PER_PART)
        if key not in self._twins:
            seed = [self.number, KINDS.index(kind), index]
            build = gear_twin if kind == "gear" else spring_twin
            self._twins[key] = build(np.random.default_rng(seed), np.random.default_rng([*seed, key[2]]))
        return self._twins[key]

    def surface(self, index: int) -> Image:
        """Return one of the lot's table tops: a (S, S, 3) texture."""
        index %= _SURFACES
        if index not in self._surfaces:
            self._surfaces[index] = _muted_surface(np.random.default_rng([self.number, index, 99]))
        return self._surfaces[index]


def _muted_surface(rng: np.random.Generator) -> Image:
    """Draw a table top whose colours are no stronger than workshops have them."""
    texture = materials.bench_surface(rng)
    grey = texture.mean(axis=2, keepdims=True)
    return np.asarray(grey + 0.7 * rng.random() * (texture - grey), dtype=np.uint8)


@lru_cache(maxsize=4)
def lot(number: int) -> Lot:
    """Return a lot by number; the last four stay in memory."""
    return Lot(number)
