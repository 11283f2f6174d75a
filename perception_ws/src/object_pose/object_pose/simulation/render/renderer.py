"""Draws a world of meshes: RGB, exact depth, instance ids and glare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, DepthImage, Image
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.simulation.render import rasterizer, shading
from object_pose.simulation.render.lighting import Lighting
from object_pose.simulation.render.materials import Material, linear_from_srgb, srgb_bytes
from object_pose.simulation.render.mesh import RenderMesh, orthographic

_SHADOW_PIXELS = 384
_OCCLUSION_PIXELS = 192
_CURVE_STEPS = 4096
_TO_LINEAR = linear_from_srgb(np.arange(256) / 255.0).astype(np.float32)
_CURVE = srgb_bytes(np.arange(_CURVE_STEPS) / (_CURVE_STEPS - 1.0))
_JITTER = np.random.default_rng(0).uniform(-1.0, 1.0, (16, 16, 4)).astype(np.float32)
_NOISE = np.clip(np.random.default_rng(1).normal(0.0, 32.0, (1024, 1024)), -127, 127).astype(np.int8)


@dataclass(frozen=True)
class Placement:
    """One mesh in the world: ``T_world_object`` (4, 4) and the class it stands for, -1 for a distractor."""

    mesh: RenderMesh
    T_world_object: Array
    class_id: int = -1


@dataclass(frozen=True)
class Finish:
    """The surface of one placement: a material and the strength (0..1) of the dirt and scratches on it."""

    material: Material
    grain: float = 0.0


@dataclass(frozen=True)
class Backdrop:
    """Table and surroundings: textures (S, S, 3) sRGB, the table's half size (0 = no table), the walls' corners (2, 3).

    ``table_pose`` is (angle, shift u, shift v) and ``table_repeats`` the textures per metre; likewise for the walls.
    """

    table_texture: Image
    surroundings_texture: Image
    grain_texture: Image
    table_half_xy: tuple[float, float] = (0.6, 0.6)
    table_pose: tuple[float, float, float] = (0.0, 0.0, 0.0)
    table_repeats: float = 1.0
    surroundings_corners: Array = field(default_factory=lambda: np.array([[-2.0, -2.0, -0.75], [2.0, 2.0, 2.2]]))
    surroundings_repeats: float = 0.5
    surroundings_shift: tuple[float, float] = (0.0, 0.0)
    surroundings_brightness: tuple[float, float, float] = (0.6, 0.6, 0.6)


@dataclass(frozen=True)
class Optics:
    """The colour camera: mean image level aimed at (linear), white-balance gains, blur (sigma, px), noise (levels)."""

    exposure: float = 0.22
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur_px: float = 0.55
    noise_levels: float = 1.5


@dataclass(frozen=True)
class Rendering:
    """One picture: ``rgb`` (H, W, 3), ``depth_m`` (H, W) along z, ``placements`` (H, W) int32 index or -1, ``areas``.

    ``areas`` (N,) count the pixels of each placement drawn alone, image border ignored; ``glare`` (H, W) is 255 where a
    highlight blinds a depth camera.
    """

    rgb: Image
    depth_m: DepthImage
    placements: NDArray[np.int32]
    areas: NDArray[np.int64]
    glare: NDArray[np.uint8]


class World:
    """Placements joined into one triangle soup in world coordinates, so that a view costs one pass over it."""

    def __init__(self, placements: Sequence[Placement]) -> None:
        self.placements = tuple(placements)
        meshes = [placement.mesh for placement in placements]
        vertex_counts = [len(mesh.vertices) for mesh in meshes]
        face_counts = [len(mesh.faces) for mesh in meshes]
        self._vertex_starts = np.concatenate([[0], np.cumsum(vertex_counts)]).astype(int)
        self.face_starts = np.concatenate([[0], np.cumsum(face_counts)]).astype(int)
        self.vertices = np.zeros((self._vertex_starts[-1], 3), dtype=np.float32)
        self.normals = np.zeros_like(self.vertices)
        self.colors = _stack([mesh.colors for mesh in meshes], (0, 3))
        self.ambient_occlusion = _stack([mesh.ambient_occlusion for mesh in meshes], (0,))
        shifted = [mesh.faces + start for mesh, start in zip(meshes, self._vertex_starts)]
        self.faces = np.concatenate([np.zeros((0, 3), dtype=np.int32), *shifted]).astype(np.int32)
        self.face_placement = np.repeat(np.arange(len(meshes), dtype=np.int32), face_counts)
        self.two_sided = np.repeat(np.array([mesh.two_sided for mesh in meshes], dtype=bool), face_counts)
        for index, placement in enumerate(placements):
            self.move(index, placement.T_world_object)

    def move(self, index: int, T_world_object: Array) -> None:
        """Put one placement at another pose."""
        placement = self.placements[index]
        span = slice(self._vertex_starts[index], self._vertex_starts[index + 1])
        rotation_t = T_world_object[:3, :3].T.astype(np.float32)
        self.vertices[span] = placement.mesh.vertices @ rotation_t + T_world_object[:3, 3].astype(np.float32)
        self.normals[span] = placement.mesh.normals @ rotation_t
        moved = Placement(placement.mesh, T_world_object, placement.class_id)
        self.placements = (*self.placements[:index], moved, *self.placements[index + 1 :])

    @cached_property
    def table_ambient_occlusion(self) -> NDArray[np.uint8]:
        """How much sky each spot of the table sees, (S, S) uint8 over a square of +-``ambient_occlusion_half``."""
        size = _OCCLUSION_PIXELS
        above = orthographic(np.array([0.0, 0.0, 1.0]), np.zeros(3), self.ambient_occlusion_half, size)
        above[1] = -above[1]  # rows along +y, as the look-up counts them; mirrored faces need both sides
        tops = self._inverse_depth_map(above, size, floor=0.0, both_sides=True)
        occupied = np.clip(tops / 0.03, 0.0, 1.0)
        scale = size / (2.0 * self.ambient_occlusion_half)
        near = cv2.GaussianBlur(occupied, (0, 0), 0.010 * scale)
        far = cv2.GaussianBlur(occupied, (0, 0), 0.035 * scale)
        return np.asarray(255.0 * np.clip(1.0 - 0.45 * near - 0.35 * far, 0.0, 1.0), dtype=np.uint8)

    @property
    def ambient_occlusion_half(self) -> float:
        """Half the side of the square that ``table_ambient_occlusion`` covers, in metres."""
        return 0.45

    def shadow_map(self, direction: Array, radius: float) -> tuple[NDArray[np.float32], Array]:
        """Return the inverse depth to a light in ``direction`` over a sphere at the origin, and its (3, 4) map."""
        light_from_world = orthographic(direction, np.zeros(3), radius, _SHADOW_PIXELS)
        return self._inverse_depth_map(light_from_world, _SHADOW_PIXELS, floor=-1e9, both_sides=False), light_from_world

    def _inverse_depth_map(self, matrix: Array, size: int, floor: float, both_sides: bool) -> NDArray[np.float32]:
        screen = np.empty((len(self.vertices), 3))
        rasterizer.project_affine(self.vertices, matrix, screen)
        inverse_depth = np.full((size, size), floor, dtype=np.float32)
        sides = np.ones_like(self.two_sided) if both_sides else self.two_sided
        rasterizer.rasterize(screen, self.faces, sides, inverse_depth, np.empty((size, size), dtype=np.int32))
        return inverse_depth


def render(
    world: World,
    finishes: Sequence[Finish],
    backdrop: Backdrop,
    lighting: Lighting,
    optics: Optics,
    camera: Camera,
    T_world_camera: Array,
    rng: np.random.Generator,
) -> Rendering:
    """Draw the world as ``camera`` at ``T_world_camera`` sees it; one finish per placement."""
    surfaces = _visible_surfaces(world, backdrop, lighting, camera, T_world_camera)
    radiance = np.empty((camera.height, camera.width, 3), dtype=np.float32)
    glare = np.empty((camera.height, camera.width), dtype=np.uint8)
    shading.shade(
        surfaces.triangles,
        surfaces.depth_m,
        surfaces.lit,
        surfaces.ray_from_pixel,
        surfaces.eye,
        surfaces.screen,
        world.faces,
        world.face_placement,
        world.normals,
        world.colors,
        world.ambient_occlusion,
        _appearance(finishes, rng),
        lighting.lights,
        lighting.reflections,
        backdrop.table_texture,
        _table_appearance(backdrop, world.ambient_occlusion_half),
        world.table_ambient_occlusion,
        backdrop.surroundings_texture,
        np.array([backdrop.surroundings_repeats, *backdrop.surroundings_shift, *backdrop.surroundings_brightness]),
        backdrop.grain_texture,
        _TO_LINEAR,
        radiance,
        glare,
    )
    placements = np.empty_like(surfaces.triangles)
    rasterizer.relabel(surfaces.triangles, world.face_placement, placements)
    areas = _areas(world, surfaces.screen, camera)
    return Rendering(_take_picture(radiance, optics, rng), surfaces.depth_m, placements, areas, glare)


@dataclass(frozen=True)
class _Surfaces:
    """What each pixel of a camera sees: its ``triangles`` index, its depth, and how much of the main light it gets.

    ``screen`` (V, 3) are the world's vertices in the image; pixels are seen from ``eye`` (3,) along
    ``ray_from_pixel`` (3, 3), in world coordinates.
    """

    triangles: NDArray[np.int32]
    depth_m: DepthImage
    lit: NDArray[np.uint8]
    screen: Array
    ray_from_pixel: Array
    eye: Array


def _visible_surfaces(
    world: World, backdrop: Backdrop, lighting: Lighting, camera: Camera, T_world_camera: Array
) -> _Surfaces:
    height, width = camera.height, camera.width
    T_camera_world = se3.inverse(T_world_camera)
    screen = np.empty((len(world.vertices), 3))
    rasterizer.project_perspective(world.vertices, camera.matrix @ T_camera_world[:3], screen)
    inverse_depth = np.zeros((height, width), dtype=np.float32)
    triangles = np.full((height, width), shading.SURROUNDINGS, dtype=np.int32)
    rasterizer.rasterize(screen, world.faces, world.two_sided, inverse_depth, triangles)
    ray_from_pixel = T_world_camera[:3, :3] @ np.linalg.inv(camera.matrix)
    eye = np.ascontiguousarray(T_world_camera[:3, 3])
    shadow_map, light_from_world = world.shadow_map(lighting.lights[0, :3], lighting.shadow_radius)
    depth = np.empty((height, width), dtype=np.float32)
    lit = np.empty((height, width), dtype=np.uint8)
    shading.resolve_surfaces(
        inverse_depth,
        triangles,
        ray_from_pixel,
        eye,
        np.asarray(backdrop.table_half_xy),
        backdrop.surroundings_corners,
        light_from_world,
        shadow_map,
        _JITTER * np.float32(lighting.softness * _SHADOW_PIXELS / (2.0 * lighting.shadow_radius)),
        depth,
        lit,
    )
    return _Surfaces(triangles, depth, np.asarray(cv2.blur(lit, (5, 5))), screen, ray_from_pixel, eye)


def _take_picture(radiance: NDArray[np.float32], optics: Optics, rng: np.random.Generator) -> Image:
    """Return the 8-bit picture of a camera with automatic exposure: tone mapping, blur and noise."""
    image = np.empty(radiance.shape, dtype=np.uint8)
    mean = float(radiance[::8, ::8].mean())
    gains = np.asarray(optics.white_balance) * (optics.exposure / max(mean, 1e-6))
    shading.tone_map(radiance, gains, _CURVE, image)
    if optics.blur_px > 0.0:
        image = np.asarray(cv2.GaussianBlur(image, (3, 3), optics.blur_px), dtype=np.uint8)
    if optics.noise_levels > 0.0:
        row, column = rng.integers(0, len(_NOISE), 2).tolist()
        shading.add_noise(image, _NOISE, optics.noise_levels, row, column)
    return image


def _areas(world: World, screen: Array, camera: Camera) -> NDArray[np.int64]:
    """Count each object's pixels when it is drawn alone; distractors are not asked for and get 0."""
    areas = np.zeros(len(world.placements), dtype=np.int64)
    for index, placement in enumerate(world.placements):
        if placement.class_id >= 0:
            span = slice(world.face_starts[index], world.face_starts[index + 1])
            areas[index] = rasterizer.silhouette_area(
                screen, world.faces[span], world.two_sided[span], camera.width, camera.height
            )
    return areas


def _appearance(finishes: Sequence[Finish], rng: np.random.Generator) -> NDArray[np.float32]:
    rows = [
        (*finish.material.color, finish.material.metallic, finish.material.roughness, finish.grain, 0.0, 0.0)
        for finish in finishes
    ]
    table = np.asarray(rows, dtype=np.float32).reshape(-1, 8)
    table[:, 6:] = rng.random((len(table), 2), dtype=np.float32)
    return table


def _table_appearance(backdrop: Backdrop, ambient_occlusion_half: float) -> Array:
    angle, shift_u, shift_v = backdrop.table_pose
    cosine, sine = np.cos(angle) * backdrop.table_repeats, np.sin(angle) * backdrop.table_repeats
    return np.array([cosine, sine, shift_u, shift_v, 0.5 / ambient_occlusion_half])


def _stack(arrays: list[NDArray[np.float32]], empty_shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.concatenate([np.zeros(empty_shape, dtype=np.float32), *arrays]), dtype=np.float32)
