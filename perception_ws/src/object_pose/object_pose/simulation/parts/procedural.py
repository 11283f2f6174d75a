"""Six industrial parts drawn by formula: watertight, in metres, origin at the box centre, z the axis of symmetry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import trimesh
from manifold3d import Manifold

from object_pose.core.arrays import Array
from object_pose.core.errors import ConfigError
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.simulation.parts import solids
from object_pose.simulation.parts.gears_springs import involute_tooth
from object_pose.simulation.render import materials
from object_pose.simulation.render.materials import Material

_Z_AXIS = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Part:
    """A part: its closed ``mesh`` (metres), its symmetries by BOP's criterion, and what it is usually made of."""

    name: str
    mesh: trimesh.Trimesh
    symmetry: Symmetry
    palette: tuple[Material, ...]


def _gear() -> Manifold:
    """Spur gear, module 3, 20 teeth, with a recessed web, a hub on one side and a keyed bore."""
    body = solids.prism(_involute_contour(teeth=20, module=3.0), (-7.0, 7.0))
    ring = [(15.0, 4.0), (25.0, 4.0), (25.0, 8.0), (15.0, 8.0)]
    recess_top = solids.revolve(ring, 40)
    recess_bottom = recess_top.mirror((0.0, 0.0, 1.0))
    hub = solids.cylinder(13.0, (0.0, 13.0), 40, chamfer=1.0)
    bore = solids.cylinder(7.0, (-20.0, 20.0), 32)
    keyway = solids.box((0.0, -2.0, -20.0), (9.0, 2.0, 20.0))
    return body - recess_top - recess_bottom + hub - bore - keyway


def _involute_contour(teeth: int, module: float) -> Array:
    radius, angle = involute_tooth(teeth, module)
    turns = np.arange(teeth)[:, None] * (2.0 * np.pi / teeth)
    angles, rings = angle[None] + turns, np.broadcast_to(radius, (teeth, len(radius)))
    return np.stack([rings * np.cos(angles), rings * np.sin(angles)], axis=-1).reshape(-1, 2)


def _spring() -> Manifold:
    """Compression spring: 3.2 mm wire, 25 mm outer diameter, closed and ground ends."""
    wire, coil_radius, height, turns, closed_turns = 3.2, 10.9, 70.0, 9.0, 1.0
    turn = np.linspace(0.0, turns, int(turns * 24) + 1)
    closed_pitch = 1.04 * wire
    open_pitch = (height - 2.0 * closed_pitch * closed_turns) / (turns - 2.0 * closed_turns)
    # The pitch opens over half a turn at both ends, so that the wire has no kink.
    opening = np.clip((np.minimum(turn, turns - turn) - closed_turns + 0.25) / 0.5, 0.0, 1.0)
    pitch = closed_pitch + (open_pitch - closed_pitch) * opening
    z = np.concatenate([[0.0], np.cumsum(0.5 * (pitch[1:] + pitch[:-1]) * np.diff(turn))])
    angle = 2.0 * np.pi * (turn - 0.5 * turns)
    path = np.stack([coil_radius * np.cos(angle), coil_radius * np.sin(angle), z - 0.5 * z[-1]], axis=1)
    ground = solids.box((-20.0, -20.0, -0.5 * z[-1]), (20.0, 20.0, 0.5 * z[-1]))
    return solids.sweep(path, 0.5 * wire, 8) ^ ground


def _hex_bolt() -> Manifold:
    """M16 x 60 hexagon head bolt with washer face, plain shank, grooved thread and chamfered end."""
    head_contour = solids.circle(24.0 / np.sqrt(3.0), segments=6)
    head = solids.prism(head_contour, (0.0, 10.0)) ^ solids.cylinder(14.2, (-1.0, 10.0), 48, chamfer=1.8)
    pitch, major, minor = 2.0, 8.0, 6.8
    thread_top, thread_end = -22.0, -58.5
    profile = [(0.0, -60.0), (minor - 0.5, -60.0), (minor, thread_end)]
    for groove in np.arange(thread_end, thread_top - 0.1, pitch):
        profile += [(major, float(groove) + 0.75), (major, float(groove) + 1.25), (minor, float(groove) + pitch)]
    profile += [(7.9, thread_top + 0.4), (7.9, -1.2), (11.0, -0.8), (11.0, 0.5), (0.0, 0.5)]
    return head + solids.revolve(profile, 28)


def _bracket() -> Manifold:
    """Angle bracket: 80 mm foot, 52 mm leg, off-centre gusset, four different holes."""
    screw_holes = [solids.circle(4.5, (32.0, y), 24) for y in (-13.0, 13.0)]
    foot = solids.prism(_rounded_rectangle(80.0, 46.0, 6.0), (0.0, 5.0), [*screw_holes, _slot((8.0, -8.0), 9.0, 3.5)])
    leg_section = solids.prism(_rounded_rectangle(104.0, 46.0, 8.0), (0.0, 5.0), [solids.circle(9.0, (31.0, -5.0), 32)])
    leg = leg_section.rotate((0.0, -90.0, 0.0)).translate((-35.0, 0.0, 0.0)) ^ solids.box((-40, -30, 0), (-35, 30, 60))
    triangle = np.array([[-35.5, 4.5], [-3.0, 4.5], [-3.0, 7.0], [-30.0, 40.0], [-35.5, 40.0]])
    gusset = solids.prism(triangle, (-2.5, 2.5)).rotate((90.0, 0.0, 0.0)).translate((0.0, 16.0, 0.0))
    return foot + leg + gusset


def _rounded_rectangle(length: float, width: float, radius: float) -> Array:
    """Contour with square corners at -x and round ones at +x."""
    x, y = 0.5 * length, 0.5 * width
    angle = np.linspace(0.0, 0.5 * np.pi, 7)
    arc = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    upper = arc + np.array([x - radius, y - radius])
    lower = (arc[::-1] + np.array([x - radius, y - radius])) * (1.0, -1.0)
    return np.concatenate([[[-x, -y]], lower, upper, [[-x, y]]])


def _slot(center: tuple[float, float], half_length: float, radius: float) -> Array:
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 10)
    arc = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    right = arc + np.array([half_length, 0.0])
    return np.concatenate([right, -right]) + center


def _bushing() -> Manifold:
    """Flanged sleeve bearing: flange 52 mm, body 34 mm, bore 24 mm, lubrication groove outside."""
    profile = [(12.0, 1.0), (13.0, 0.0), (25.0, 0.0), (26.0, 1.0), (26.0, 6.0), (25.0, 7.0), (17.0, 7.0)]
    profile += [(17.0, 20.0), (16.0, 21.0), (16.0, 24.0), (17.0, 25.0), (17.0, 36.0), (15.5, 38.0), (13.0, 38.0)]
    profile += [(12.0, 37.0)]
    return solids.revolve(profile, 56)


def _pipe_elbow() -> Manifold:
    """Pipe bend of 90 degrees with a collar at both ends; z bisects the ends, so half a turn maps it onto itself."""
    bend_radius, outer, inner, straight, collar = 30.0, 11.5, 8.5, 6.0, 9.0
    bend = np.linspace(-0.25 * np.pi, 0.25 * np.pi, 17)
    arc = bend_radius * np.stack([np.sin(bend), np.zeros_like(bend), np.cos(bend)], axis=1)
    direction = np.array([np.sqrt(0.5), 0.0, -np.sqrt(0.5)])
    mirror = np.array([-1.0, 1.0, 1.0])

    def extended(length: float) -> Array:
        return np.concatenate([[(arc[-1] + length * direction) * mirror], arc, [arc[-1] + length * direction]])

    solid = solids.sweep(extended(straight + collar), outer, 28)
    ring = solids.cylinder(15.5, (straight, straight + collar), 36, chamfer=1.2)
    right = ring.rotate((0.0, 135.0, 0.0)).translate(tuple(arc[-1]))
    return solid + right + right.mirror((1.0, 0.0, 0.0)) - solids.sweep(extended(straight + collar + 5.0), inner, 24)


def _half_turn(axis: tuple[float, float, float]) -> Array:
    return se3.make_transform(se3.exp_so3(np.pi * np.asarray(axis)))


@dataclass(frozen=True)
class _Recipe:
    draw: Callable[[], Manifold]
    symmetry: Symmetry
    palette: tuple[Material, ...]


_RECIPES: dict[str, _Recipe] = {
    "gear": _Recipe(_gear, Symmetry(axis=_Z_AXIS), (materials.STEEL, materials.BLACK_OXIDE, materials.BRASS)),
    "spring": _Recipe(
        _spring,
        Symmetry(discrete=_half_turn((1.0, 0.0, 0.0))[None], axis=_Z_AXIS),
        (materials.GROUND_STEEL, materials.STEEL, materials.BLACK_OXIDE),
    ),
    "hex_bolt": _Recipe(
        _hex_bolt, Symmetry(axis=_Z_AXIS), (materials.ZINC, materials.YELLOW_ZINC, materials.BLACK_OXIDE)
    ),
    "bracket": _Recipe(
        _bracket, Symmetry(), (materials.ZINC, materials.BLUE_PAINT, materials.ORANGE_PAINT, materials.STEEL)
    ),
    "bushing": _Recipe(_bushing, Symmetry(axis=_Z_AXIS), (materials.BRONZE, materials.BRASS, materials.GROUND_STEEL)),
    "pipe_elbow": _Recipe(
        _pipe_elbow,
        Symmetry(discrete=_half_turn((0.0, 0.0, 1.0))[None]),
        (materials.COPPER, materials.GREY_PVC, materials.ZINC, materials.BRASS),
    ),
}

PART_NAMES = tuple(_RECIPES)


@cache
def build_part(name: str) -> Part:
    """Build a part of ``PART_NAMES``, always the same; raise ``ConfigError`` for another name."""
    if name not in _RECIPES:
        raise ConfigError(f"unknown part '{name}'", f"choose one of {', '.join(PART_NAMES)}")
    recipe = _RECIPES[name]
    vertices_mm, faces = solids.triangles(recipe.draw())
    center = 0.5 * (vertices_mm.min(axis=0) + vertices_mm.max(axis=0))
    mesh = trimesh.Trimesh((vertices_mm - center) * 1e-3, faces, process=False)
    return Part(name, mesh, recipe.symmetry, recipe.palette)


def export_stl(folder: Path) -> list[Path]:
    """Write every part as binary STL in metres, as RViz and URDF expect; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in PART_NAMES:
        path = folder / f"{name}.stl"
        path.write_bytes(trimesh.exchange.stl.export_stl(build_part(name).mesh))
        paths.append(path)
    return paths
