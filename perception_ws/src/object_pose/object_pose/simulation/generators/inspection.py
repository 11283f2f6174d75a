"""Pictures of springs and gears on a tray for inspection: damaged if any part in it is.

Every scene is drawn twice, with its damaged parts and with their whole twins, so that the two classes differ in nothing
but the damage. A scene counts only if each damage shows: at least ``MIN_CHANGED_PIXELS`` pixels within its zone must
differ between the twins by more than ``VISIBLE_LEVELS`` of 255; otherwise it is drawn again, for both classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image, Mask
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.simulation.parts.twins import KINDS, PALETTES, PARTS_PER_KIND, Kind, Lot, PartTwin, lot
from object_pose.simulation.render import materials
from object_pose.simulation.render.lighting import Lighting, random_lighting
from object_pose.simulation.render.mesh import RenderMesh
from object_pose.simulation.render.renderer import Backdrop, Finish, Optics, Placement, Rendering, World, render
from object_pose.simulation.scenes import layout
from object_pose.simulation.scenes.distractors import bin_mesh
from object_pose.simulation.seeds import TRAINING

# Draws the lights of a scene, given how far shadows reach in metres.
Light = Callable[[np.random.Generator, float], Lighting]

LABELS = ("damaged", "undamaged")
IMAGE_WH = (384, 288)
MIN_CHANGED_PIXELS = 40
VISIBLE_LEVELS = 24
MAX_PARTS = 6
SEEDS_PER_LOT = 32

_SHADOW_REACH_M = 0.3
_GAP_M = 0.002
_TRAY_MATERIALS = (materials.STEEL, materials.ZINC, materials.GREY_PVC, materials.BLUE_PAINT, materials.BLACK_OXIDE)


@dataclass(frozen=True)
class Inspection:
    """A labelled picture: ``image`` (H, W, 3), ``class_id`` in ``LABELS``, ``damage`` (H, W) where parts are damaged.

    ``damages`` name what is wrong, one for each damaged part; ``parts`` the kind of every part in the picture.
    ``changed_pixels`` is how much of the picture the damage changes, for the part where that is most.
    """

    image: Image
    class_id: int
    damage: Mask
    damages: tuple[str, ...]
    parts: tuple[Kind, ...]
    changed_pixels: int = 0


@dataclass(frozen=True)
class _Part:
    twin: PartTwin
    is_damaged: bool
    rotation: Array
    xy: Array

    def placement(self, floor: float, *, whole: bool) -> Placement:
        """Return the part, or its whole twin, as it lies on the floor."""
        mesh = self.twin.damaged if self.is_damaged and not whole else self.twin.whole
        lift = floor - float((mesh.vertices @ self.rotation[2]).min())
        return Placement(mesh, se3.make_transform(self.rotation, np.array([*self.xy, lift])))


@dataclass(frozen=True)
class _Scene:
    parts: tuple[_Part, ...]
    tray: tuple[Placement, ...]
    floor: float
    finishes: tuple[Finish, ...]
    backdrop: Backdrop
    lighting: Lighting
    optics: Optics
    camera: Camera
    T_world_camera: Array
    render_seed: int


def training_lots(rng: np.random.Generator) -> Iterator[int]:
    """Yield lots for training for ever, none of those for validation and test; one draw from ``rng`` decides them."""
    own = np.random.default_rng(int(rng.integers(2**31)))
    while True:
        yield int(own.integers(TRAINING.stop // SEEDS_PER_LOT))


def lot_seeds(number: int) -> range:
    """Return the seeds whose pictures show the parts of a lot."""
    return range(number * SEEDS_PER_LOT, (number + 1) * SEEDS_PER_LOT)


def inspection(seed: int, light: Light = random_lighting) -> Inspection:
    """Return the picture of a seed, damaged or not with equal probability; the same seed gives the same picture."""
    damaged, undamaged = inspection_twins(seed, light)
    return damaged if np.random.default_rng([seed, 1]).random() < 0.5 else undamaged


def inspection_sample(seed: int) -> tuple[Image, int]:
    """Return the image (H, W, 3) and the class id in ``LABELS`` of a seed."""
    drawn = inspection(seed)
    return drawn.image, drawn.class_id


def inspection_twins(seed: int, light: Light = random_lighting) -> tuple[Inspection, Inspection]:
    """Return the damaged and the undamaged picture of one scene; parts follow from ``seed // SEEDS_PER_LOT``."""
    parts = lot(seed // SEEDS_PER_LOT)
    for attempt in itertools.count():
        scene = _draw_scene(parts, light, np.random.default_rng([seed, 0, attempt]))
        twins = _take_pictures(scene)
        if twins is not None:
            return twins
    raise AssertionError("unreachable")


def _take_pictures(scene: _Scene) -> tuple[Inspection, Inspection] | None:
    """Render both twins; None where one of the damages cannot be seen."""
    damaged, whole = _render(scene, whole=False), _render(scene, whole=True)
    difference = np.abs(damaged.rgb.astype(np.int16) - whole.rgb).max(axis=2) > VISIBLE_LEVELS
    damage, changed_pixels = np.zeros(difference.shape, dtype=bool), []
    for index, part in enumerate(scene.parts):
        if part.is_damaged:
            zone = _visible_zone(scene, index, damaged, whole)
            changed_pixels.append(int((difference & zone).sum()))
            damage |= zone
    if min(changed_pixels) < MIN_CHANGED_PIXELS:
        return None
    kinds = tuple(part.twin.kind for part in scene.parts)
    names = tuple(part.twin.damage for part in scene.parts if part.is_damaged)
    nothing = np.zeros_like(damage)
    shows = Inspection(damaged.rgb, 0, damage, names, kinds, max(changed_pixels))
    return shows, Inspection(whole.rgb, 1, nothing, (), kinds)


def _render(scene: _Scene, *, whole: bool) -> Rendering:
    placements = [part.placement(scene.floor, whole=whole) for part in scene.parts]
    return render(
        World([*placements, *scene.tray]),
        scene.finishes,
        scene.backdrop,
        scene.lighting,
        scene.optics,
        scene.camera,
        scene.T_world_camera,
        np.random.default_rng(scene.render_seed),
    )


def _visible_zone(scene: _Scene, index: int, damaged: Rendering, whole: Rendering) -> Mask:
    """Return where the damage of a part, or the part around it, is seen: (H, W)."""
    pose = scene.parts[index].placement(scene.floor, whole=False).T_world_object
    T_camera_object = se3.inverse(scene.T_world_camera) @ pose
    canvas = np.zeros(damaged.depth_m.shape, dtype=np.uint8)
    for box in scene.parts[index].twin.zones:
        corners = scene.camera.project(se3.apply(T_camera_object, box))
        cv2.fillConvexPoly(canvas, cv2.convexHull(np.rint(corners).astype(np.int32)), 1)
    own = ((damaged.placements == index) | (whole.placements == index)).astype(np.uint8)
    return (cv2.dilate(own, np.ones((3, 3), np.uint8)) & canvas).astype(bool)


def _draw_scene(parts: Lot, light: Light, rng: np.random.Generator) -> _Scene:
    twins = _draw_twins(parts, rng)
    damaged_count = min(len(twins), int(rng.choice([1, 2, 3], p=[0.7, 0.22, 0.08])))
    half = _tray_half(twins, rng)
    laid = _lay_out(twins, damaged_count, half, rng)
    tray, floor = _tray(half, rng)
    finishes = [Finish(materials.pick(PALETTES[part.twin.kind], rng), rng.uniform(0.0, 0.5)) for part in laid]
    finishes += [Finish(materials.pick(_TRAY_MATERIALS, rng), rng.uniform(0.0, 0.4)) for _ in tray]
    focal = rng.uniform(400.0, 520.0)
    return _Scene(
        tuple(laid),
        tray,
        floor,
        tuple(finishes),
        _backdrop(parts, rng),
        light(rng, _SHADOW_REACH_M),
        _optics(rng),
        Camera(*IMAGE_WH, focal, focal, 0.5 * (IMAGE_WH[0] - 1), 0.5 * (IMAGE_WH[1] - 1)),
        _viewpoint(half, focal, rng),
        int(rng.integers(2**31)),
    )


def _draw_twins(parts: Lot, rng: np.random.Generator) -> list[PartTwin]:
    """Draw one to six different parts of the lot, of one kind in half of the scenes."""
    count = int(rng.integers(1, MAX_PARTS + 1))
    kinds = list(KINDS) if rng.random() < 0.5 else [KINDS[int(rng.integers(len(KINDS)))]]
    choices = [(kind, index) for kind in kinds for index in range(PARTS_PER_KIND)]
    picked = rng.permutation(len(choices))[:count]
    return [parts.twin(kind, index, int(rng.integers(64))) for kind, index in (choices[choice] for choice in picked)]


def _tray_half(twins: Sequence[PartTwin], rng: np.random.Generator) -> Array:
    """Return half the inner size (2,) in metres of a tray that holds the parts."""
    footprints = [_footprint(twin.damaged.vertices @ _flat(twin.kind).T.astype(np.float32)) for twin in twins]
    area = sum(float(np.prod(high - low)) for low, high in footprints) * rng.uniform(1.25, 1.9)
    aspect = rng.uniform(1.15, 1.6)
    longest = max(float(np.linalg.norm(high - low)) for low, high in footprints)
    sides = np.array([np.sqrt(area * aspect), np.sqrt(area / aspect)])
    return np.asarray(0.5 * np.maximum(sides, longest + 2.0 * _GAP_M))


def _footprint(points: NDArray[np.floating]) -> tuple[Array, Array]:
    xy = np.asarray(points[:, :2], dtype=np.float64)
    return xy.min(axis=0), xy.max(axis=0)


def _flat(kind: Kind) -> Array:
    """Return the rotation that lays a part down: gears on a side, springs along x."""
    return np.eye(3) if kind == "gear" else se3.exp_so3(np.array([0.0, 0.5 * np.pi, 0.0]))


def _lying(twin: PartTwin, shows: bool, rng: np.random.Generator) -> Array:
    """Draw a rotation (3, 3) in which the part lies on the tray, with its damage upwards where that ``shows`` it."""
    if twin.kind == "gear":
        upside_down = se3.exp_so3(np.array([np.pi, 0.0, 0.0])) if rng.random() < 0.5 else np.eye(3)
        return np.asarray(layout.heading(rng) @ upside_down)
    spin = rng.uniform(0.0, 2.0 * np.pi)
    if shows and twin.up_angle is not None:
        # Laid along x, the spring's own -x direction points up.
        spin = np.pi - twin.up_angle + rng.uniform(-0.9, 0.9)
    return np.asarray(layout.heading(rng) @ _flat("spring") @ se3.exp_so3(np.array([0.0, 0.0, spin])))


def _lay_out(twins: Sequence[PartTwin], damaged_count: int, half: Array, rng: np.random.Generator) -> list[_Part]:
    """Find each part a free place on the tray; parts that find none are left out, but never the first."""
    grid = _Occupancy(half)
    laid = []
    for index, twin in enumerate(twins):
        is_damaged = index < damaged_count
        for _ in range(30):
            rotation = _lying(twin, is_damaged, rng)
            contour = _contour(twin.damaged if is_damaged else twin.whole, rotation)
            low, high = contour.min(axis=0), contour.max(axis=0)
            slack = np.maximum(half - _GAP_M - 0.5 * (high - low), 0.0)
            xy = rng.uniform(-slack, slack) - 0.5 * (low + high)
            if grid.take(contour + xy):
                laid.append(_Part(twin, is_damaged, rotation, xy))
                break
    return laid


def _contour(mesh: RenderMesh, rotation: Array) -> Array:
    """Return the convex hull (N, 2), in metres, of the mesh seen from above."""
    turned = np.asarray(mesh.vertices @ rotation.T[:, :2].astype(np.float32), dtype=np.float32)
    return np.asarray(cv2.convexHull(turned)[:, 0], dtype=np.float64)


class _Occupancy:
    """Which millimetres of the tray are taken."""

    def __init__(self, half: Array) -> None:
        self._half = half
        columns, rows = np.ceil(2e3 * half).astype(int) + 2
        self._taken = np.zeros((rows, columns), dtype=np.uint8)

    def take(self, contour: Array) -> bool:
        """Mark a convex contour (N, 2) in metres as taken, unless something is there."""
        shape = np.zeros_like(self._taken)
        cv2.fillConvexPoly(shape, np.rint((contour + self._half) * 1e3).astype(np.int32), 1)
        if (shape & self._taken).any():
            return False
        self._taken |= cv2.dilate(shape, np.ones((3, 3), np.uint8))
        return True


def _tray(half: Array, rng: np.random.Generator) -> tuple[tuple[Placement, ...], float]:
    """Draw a tray with low walls and return it with the height of its floor, or none and the table's height."""
    if rng.random() < 0.25:
        return (), 0.0
    thickness = rng.uniform(0.001, 0.003)
    walls = bin_mesh(half + rng.uniform(0.002, 0.012), thickness + rng.uniform(0.004, 0.014), thickness)
    return (Placement(walls, np.eye(4)),), thickness


def _backdrop(parts: Lot, rng: np.random.Generator) -> Backdrop:
    table, surroundings, grain = (parts.surface(int(index)) for index in rng.integers(64, size=3))
    return Backdrop(
        table_texture=table,
        surroundings_texture=surroundings,
        grain_texture=grain,
        table_half_xy=(1.5, 1.5),
        table_pose=(rng.uniform(0.0, 2.0 * np.pi), rng.random(), rng.random()),
        table_repeats=rng.uniform(1.0, 4.0),
    )


def _viewpoint(half: Array, focal: float, rng: np.random.Generator) -> Array:
    """Draw T_world_camera: above the tray, tilted by up to 28 degrees, the whole tray in the picture."""
    tilt = np.radians(28.0) * np.sqrt(rng.random())
    azimuth = rng.uniform(0.0, 2.0 * np.pi)
    fit = float((half * 2.0 * focal / np.asarray(IMAGE_WH)).max())
    distance = fit * rng.uniform(1.0, 1.2) * (1.0 + 0.2 * np.sin(tilt)) + 0.015
    direction = np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)])
    return _looking_down(distance * direction, rng.normal(0.0, np.radians(6.0)) + np.pi * rng.integers(2))


def _looking_down(eye: Array, roll: float) -> Array:
    """Return T_world_camera of a camera at ``eye`` that looks at the origin, its rows along -y before the roll."""
    forward = -eye / np.linalg.norm(eye)
    right = np.array([1.0, 0.0, 0.0]) - forward * forward[0]
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward], axis=1)
    return se3.make_transform(rotation @ se3.exp_so3(np.array([0.0, 0.0, roll])), eye)


def _optics(rng: np.random.Generator) -> Optics:
    balance = np.exp(rng.normal(0.0, 0.06, 3))
    return Optics(
        exposure=float(np.exp(rng.uniform(np.log(0.1), np.log(0.4)))),
        white_balance=(float(balance[0]), float(balance[1]), float(balance[2])),
        blur_px=rng.uniform(0.35, 0.8),
        noise_levels=rng.uniform(0.0, 3.0) * rng.random(),
    )
