"""The renderer's inner loops: what is seen, where shadows fall, what is reflected, and the camera's 8-bit picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.core.kernels import inlined, kernel
from object_pose.simulation.render.rasterizer import FloatArray, IntArray, InverseDepthMap

TexelSite = tuple[int, int, int, int, float, float]
MapSite = tuple[int, int, float, float]


@kernel
def texel_site(texture: NDArray[np.uint8], s: float, t: float) -> TexelSite:
    """Columns, rows and weights of the texels about (s, t); the texture has period 1 and a size of 2^n."""
    size = texture.shape[0]
    s, t = s * size, t * size
    column, row = int(np.floor(s)), int(np.floor(t))
    mask = size - 1
    return column & mask, (column + 1) & mask, row & mask, (row + 1) & mask, s - column, t - row


@kernel
def texel(texture: NDArray[np.uint8], site: TexelSite, channel: int) -> int:
    """Bilinear value 0..255 of one channel at a ``texel_site``."""
    c0, c1, r0, r1, fs, ft = site
    upper = texture[r0, c0, channel] + fs * (texture[r0, c1, channel] - 1.0 * texture[r0, c0, channel])
    lower = texture[r1, c0, channel] + fs * (texture[r1, c1, channel] - 1.0 * texture[r1, c0, channel])
    return int(upper + ft * (lower - upper) + 0.5)


@kernel
def octahedral_site(maps: NDArray[np.float32], x: float, y: float, z: float) -> MapSite:
    """Row, column and weights of direction (x, y, z) in an octahedral map."""
    size = maps.shape[1]
    norm = 1.0 / (abs(x) + abs(y) + abs(z) + 1e-12)
    p, q = x * norm, y * norm
    if z < 0.0:
        fold = (1.0 - abs(q)) * (1.0 if p >= 0.0 else -1.0)
        q = (1.0 - abs(p)) * (1.0 if q >= 0.0 else -1.0)
        p = fold
    s, t = (0.5 * p + 0.5) * (size - 1), (0.5 * q + 0.5) * (size - 1)
    column, row = min(max(int(s), 0), size - 2), min(max(int(t), 0), size - 2)
    return row, column, t - row, s - column


@kernel
def reflection(maps: NDArray[np.float32], level: int, site: MapSite, channel: int) -> float:
    """Bilinear value of one channel at an ``octahedral_site``."""
    row, column, ft, fs = site
    a, b = maps[level, row, column, channel], maps[level, row, column + 1, channel]
    c, d = maps[level, row + 1, column, channel], maps[level, row + 1, column + 1, channel]
    upper, lower = a + fs * (b - a), c + fs * (d - c)
    return upper + ft * (lower - upper)


FloatArray32 = NDArray[np.float32]
ByteArray = NDArray[np.uint8]

TABLE, SURROUNDINGS = -1, -2  # surfaces that are not triangles
_SHADOW_BIAS_M = 0.0015
_JITTER_TILE = 16
_SHADOW_TAPS = 2


@kernel
def resolve_surfaces(
    inverse_depth: InverseDepthMap,
    triangles: IntArray,
    ray_from_pixel: FloatArray,
    eye: FloatArray,
    table_half_xy: FloatArray,
    surroundings: FloatArray,
    light_from_world: FloatArray,
    shadow_map: InverseDepthMap,
    jitter: FloatArray32,
    depth: FloatArray32,
    lit: ByteArray,
) -> None:
    """Fill ``depth`` (metres along z) and ``lit`` (255 = the main light arrives) of every pixel (H, W).

    Pixels without a triangle get the table (z = 0, half sizes ``table_half_xy``) or the walls of the ``surroundings``
    (low and high corner, (2, 3)), noted in ``triangles`` as TABLE or SURROUNDINGS. ``ray_from_pixel`` (3, 3) maps
    (u, v, 1) to a world direction of unit depth; ``jitter`` (16, 16, 4) are the offsets in shadow-map pixels that make
    the shadow's edge soft.
    """
    height, width = inverse_depth.shape
    size = shadow_map.shape[0]
    for v in range(height):
        for u in range(width):
            dx = ray_from_pixel[0, 0] * u + ray_from_pixel[0, 1] * v + ray_from_pixel[0, 2]
            dy = ray_from_pixel[1, 0] * u + ray_from_pixel[1, 1] * v + ray_from_pixel[1, 2]
            dz = ray_from_pixel[2, 0] * u + ray_from_pixel[2, 1] * v + ray_from_pixel[2, 2]
            triangle = triangles[v, u]
            distance = 0.0
            if triangle >= 0:
                distance = 1.0 / inverse_depth[v, u]
            if table_half_xy[0] > 0.0 and dz * eye[2] < 0.0:
                to_table = -eye[2] / dz
                on_table = (
                    abs(eye[0] + to_table * dx) <= table_half_xy[0] and abs(eye[1] + to_table * dy) <= table_half_xy[1]
                )
                if on_table and (triangle < 0 or to_table < distance):
                    triangle, distance = TABLE, to_table
            if triangle == SURROUNDINGS or (triangle < 0 and distance == 0.0):
                triangle = SURROUNDINGS
                distance = min(
                    _exit_distance(eye[0], dx, surroundings[0, 0], surroundings[1, 0]),
                    _exit_distance(eye[1], dy, surroundings[0, 1], surroundings[1, 1]),
                    _exit_distance(eye[2], dz, surroundings[0, 2], surroundings[1, 2]),
                )
            triangles[v, u] = triangle
            depth[v, u] = distance
            lit[v, u] = 255
            if triangle == SURROUNDINGS:
                continue
            x, y, z = eye[0] + distance * dx, eye[1] + distance * dy, eye[2] + distance * dz
            su = light_from_world[0, 0] * x + light_from_world[0, 1] * y + light_from_world[0, 2] * z
            sv = light_from_world[1, 0] * x + light_from_world[1, 1] * y + light_from_world[1, 2] * z
            near = light_from_world[2, 0] * x + light_from_world[2, 1] * y + light_from_world[2, 2] * z
            su += light_from_world[0, 3] + 0.5
            sv += light_from_world[1, 3] + 0.5
            near += light_from_world[2, 3] + _SHADOW_BIAS_M
            blocked = 0
            for tap in range(_SHADOW_TAPS):
                column = int(su + jitter[v % _JITTER_TILE, u % _JITTER_TILE, 2 * tap])
                row = int(sv + jitter[v % _JITTER_TILE, u % _JITTER_TILE, 2 * tap + 1])
                if 0 <= column < size and 0 <= row < size and shadow_map[row, column] > near:
                    blocked += 1
            lit[v, u] = 255 - blocked * (255 // _SHADOW_TAPS)


@inlined
def _exit_distance(start: float, step: float, low: float, high: float) -> float:
    if step > 1e-9:
        return (high - start) / step
    if step < -1e-9:
        return (low - start) / step
    return 1e9


@kernel
def shade(
    triangles: IntArray,
    depth: FloatArray32,
    lit: ByteArray,
    ray_from_pixel: FloatArray,
    eye: FloatArray,
    screen: FloatArray,
    faces: IntArray,
    face_instance: IntArray,
    normals: FloatArray32,
    colors: FloatArray32,
    ambient_occlusion: FloatArray32,
    appearance: FloatArray32,
    lights: FloatArray,
    reflections: FloatArray32,
    table_texture: ByteArray,
    table_appearance: FloatArray,
    table_ambient_occlusion: ByteArray,
    surroundings_texture: ByteArray,
    surroundings_appearance: FloatArray,
    grain_texture: ByteArray,
    to_linear: FloatArray32,
    radiance: FloatArray32,
    glare: ByteArray,
) -> None:
    """Fill linear ``radiance`` (H, W, 3) and ``glare`` (H, W), which is 255 where a mirror-like highlight is seen.

    ``lights`` (L + 2, 6): rows of unit direction to the light and its RGB, first the shadow-casting one; the last two
    rows carry the sky's and the ground's RGB. ``appearance`` (N, 8): RGB tint, metallic, roughness, grain strength and
    grain offsets of each instance. ``reflections`` (levels, S, S, 3) are octahedral maps from mirror to matte.
    """
    height, width = triangles.shape
    sky_size = table_ambient_occlusion.shape[0]
    flat_sun = max(lights[0, 2], 0.0) * lights[0, 3:]
    flat_light = lights[-2, 3:].copy()
    for k in range(1, lights.shape[0] - 2):
        flat_light += max(lights[k, 2], 0.0) * lights[k, 3:]
    for v in range(height):
        for u in range(width):
            dx = ray_from_pixel[0, 0] * u + ray_from_pixel[0, 1] * v + ray_from_pixel[0, 2]
            dy = ray_from_pixel[1, 0] * u + ray_from_pixel[1, 1] * v + ray_from_pixel[1, 2]
            dz = ray_from_pixel[2, 0] * u + ray_from_pixel[2, 1] * v + ray_from_pixel[2, 2]
            triangle = triangles[v, u]
            distance = depth[v, u]
            x, y, z = eye[0] + distance * dx, eye[1] + distance * dy, eye[2] + distance * dz
            sun = lit[v, u] * (1.0 / 255.0)
            glare[v, u] = 0
            if triangle == SURROUNDINGS:
                _shade_surroundings(x, y, z, surroundings_texture, surroundings_appearance, to_linear, radiance, v, u)
                continue
            if triangle == TABLE:
                sky_share = 1.0
                column = int((x * table_appearance[4] + 0.5) * sky_size)
                row = int((y * table_appearance[4] + 0.5) * sky_size)
                if 0 <= column < sky_size and 0 <= row < sky_size:
                    sky_share = table_ambient_occlusion[row, column] * (1.0 / 255.0)
                site = texel_site(
                    table_texture,
                    table_appearance[0] * x - table_appearance[1] * y + table_appearance[2],
                    table_appearance[1] * x + table_appearance[0] * y + table_appearance[3],
                )
                for channel in range(3):
                    light = sky_share * flat_light[channel] + sun * flat_sun[channel]
                    radiance[v, u, channel] = to_linear[texel(table_texture, site, channel)] * light
                continue
            i0, i1, i2 = faces[triangle, 0], faces[triangle, 1], faces[triangle, 2]
            x1, y1 = screen[i1, 0] - screen[i0, 0], screen[i1, 1] - screen[i0, 1]
            x2, y2 = screen[i2, 0] - screen[i0, 0], screen[i2, 1] - screen[i0, 1]
            scale = distance / (x1 * y2 - x2 * y1)
            px, py = u - screen[i0, 0], v - screen[i0, 1]
            b1 = (y2 * px - x2 * py) * scale * screen[i1, 2]
            b2 = (x1 * py - y1 * px) * scale * screen[i2, 2]
            instance = face_instance[triangle]
            grain = 1.0
            if appearance[instance, 5] > 0.0:
                site = texel_site(
                    grain_texture,
                    (x + 0.7 * z) * 3.0 + appearance[instance, 6],
                    (y - 0.5 * z) * 3.0 + appearance[instance, 7],
                )
                grain += appearance[instance, 5] * (texel(grain_texture, site, 0) * (1.0 / 128.0) - 1.0)
            lustre = _shade_solid(
                (i0, i1, i2),
                (1.0 - b1 - b2, b1, b2),
                (dx, dy, dz),
                sun,
                grain,
                instance,
                appearance,
                normals,
                colors,
                ambient_occlusion,
                lights,
                reflections,
                radiance,
                v,
                u,
            )
            glare[v, u] = int(min(max((lustre - 0.6) * 85.0, 0.0), 255.0))


@inlined
def _shade_surroundings(
    x: float,
    y: float,
    z: float,
    texture: ByteArray,
    appearance: FloatArray,
    to_linear: FloatArray32,
    radiance: FloatArray32,
    v: int,
    u: int,
) -> None:
    """Walls and floor share one texture, folded along z so that the walls continue the floor."""
    site = texel_site(
        texture, (x + 0.7 * z) * appearance[0] + appearance[1], (y + 0.6 * z) * appearance[0] + appearance[2]
    )
    for channel in range(3):
        radiance[v, u, channel] = to_linear[texel(texture, site, channel)] * appearance[3 + channel]


@inlined
def _shade_solid(
    corners: tuple[int, int, int],
    weights: tuple[float, float, float],
    ray: tuple[float, float, float],
    sun: float,
    grain: float,
    instance: int,
    appearance: FloatArray32,
    normals: FloatArray32,
    colors: FloatArray32,
    ambient_occlusion: FloatArray32,
    lights: FloatArray,
    reflections: FloatArray32,
    radiance: FloatArray32,
    v: int,
    u: int,
) -> float:
    """Light a point of a triangle: Lambert plus Fresnel-weighted reflection; return the reflected light, RGB summed."""
    i0, i1, i2 = corners
    b0, b1, b2 = weights
    nx = b0 * normals[i0, 0] + b1 * normals[i1, 0] + b2 * normals[i2, 0]
    ny = b0 * normals[i0, 1] + b1 * normals[i1, 1] + b2 * normals[i2, 1]
    nz = b0 * normals[i0, 2] + b1 * normals[i1, 2] + b2 * normals[i2, 2]
    dx, dy, dz = ray
    inverse = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx * inverse, dy * inverse, dz * inverse
    inverse = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
    facing = -(nx * dx + ny * dy + nz * dz) * inverse
    if facing < 0.0:
        inverse, facing = -inverse, -facing
    nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
    sky_share = b0 * ambient_occlusion[i0] + b1 * ambient_occlusion[i1] + b2 * ambient_occlusion[i2]
    light_rgb = _incident_light(nx, ny, nz, sun, sky_share, lights)
    metallic, roughness = appearance[instance, 3], appearance[instance, 4]
    level = min(int(roughness * reflections.shape[0]), reflections.shape[0] - 1)
    site = octahedral_site(reflections, dx + 2.0 * facing * nx, dy + 2.0 * facing * ny, dz + 2.0 * facing * nz)
    grazing = (1.0 - facing) * (1.0 - facing)
    fresnel = grazing * grazing * (1.0 - facing) * (1.0 - 0.7 * roughness)
    # The reflected surroundings hold the main light's image, which goes where its light does not arrive.
    reflected_share = (0.35 + 0.65 * sun) * sky_share
    lustre = 0.0
    for channel in range(3):
        albedo = b0 * colors[i0, channel] + b1 * colors[i1, channel] + b2 * colors[i2, channel]
        albedo = min(max(albedo * appearance[instance, channel] * grain, 0.0), 1.0)
        mirror = 0.04 + metallic * (albedo - 0.04)
        mirror += (1.0 - mirror) * fresnel
        mirrored = mirror * reflected_share * reflection(reflections, level, site, channel)
        lustre += mirrored
        radiance[v, u, channel] = albedo * (1.0 - 0.85 * metallic) * light_rgb[channel] + mirrored
    return lustre


@inlined
def _incident_light(
    nx: float, ny: float, nz: float, sun: float, sky_share: float, lights: FloatArray
) -> tuple[float, float, float]:
    """RGB that falls on a surface with unit normal (nx, ny, nz): sky and ground by its tilt, and every lamp."""
    up, down = sky_share * (0.5 + 0.5 * nz), sky_share * (0.5 - 0.5 * nz)
    red = up * lights[-2, 3] + down * lights[-1, 3]
    green = up * lights[-2, 4] + down * lights[-1, 4]
    blue = up * lights[-2, 5] + down * lights[-1, 5]
    for k in range(lights.shape[0] - 2):
        incidence = nx * lights[k, 0] + ny * lights[k, 1] + nz * lights[k, 2]
        if incidence > 0.0:
            incidence *= sun if k == 0 else sky_share
            red += incidence * lights[k, 3]
            green += incidence * lights[k, 4]
            blue += incidence * lights[k, 5]
    return red, green, blue


@kernel
def tone_map(
    radiance: NDArray[np.float32], gains: NDArray[np.float64], curve: NDArray[np.uint8], image: NDArray[np.uint8]
) -> None:
    """Fill ``image`` (H, W, 3) uint8 with ``curve`` of ``radiance`` times the (3,) channel ``gains``; 1.0 saturates."""
    height, width = image.shape[0], image.shape[1]
    last = curve.shape[0] - 1
    for v in range(height):
        for u in range(width):
            for channel in range(3):
                level = radiance[v, u, channel] * gains[channel] * last
                image[v, u, channel] = curve[int(min(max(level, 0.0), 1.0 * last))]


@kernel
def add_noise(image: NDArray[np.uint8], noise: NDArray[np.int8], amplitude: float, row: int, column: int) -> None:
    """Add ``amplitude`` times the ``noise`` tile (32 counts = one sigma), read from (row, column) on."""
    height, width = image.shape[0], image.shape[1]
    mask = noise.shape[0] - 1
    scale = amplitude / 32.0
    for v in range(height):
        for u in range(width):
            for channel in range(3):
                # Channels read far-apart parts of the tile, so that their noise is independent.
                shift = column + u + channel * 173
                value = image[v, u, channel] + scale * noise[(row + v + channel * 59) & mask, shift & mask] + 0.5
                image[v, u, channel] = int(min(max(value, 0.0), 255.0))
