"""What depth says of a pose of a mesh, pixel by pixel: surface, silhouette and free space.

The mesh is drawn at the pose. A pixel that measured its surface confirms it, one that measured something in front is
occluded, and one that measured something behind contradicts it: the camera looked through where the part would be.
Just outside of its silhouette depth has to fall off, unless something in front of the part ends it there.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Mask
from object_pose.core.kernels import kernel
from object_pose.core.matching.drawing import draw, project
from object_pose.core.matching.oriented_depth import STRIDE, OrientedDepth
from object_pose.core.object_model import TriangleMesh

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

# Columns of the counts. Of the samples drawn: within the image, of which depth confirms, sees through, is in front of,
# and has nothing at; squared distances of the confirmed ones in tolerances and in metres, and how many lie on a plane.
AREA, EXPECTED, CONFIRMED, BEHIND, FRONT, HOLES, SQUARES, SQUARES_M2, PLANE = range(9)
# Of the confirmed ones those with a normal, and the sum of squared cosines with the model's.
ORIENTED, AGREEING = 9, 10
# Of sides of samples at the contour: all that tell, those beyond which depth falls off, and those where it goes on at
# the first and at all rings around the contour.
EDGES, ENDS, CONTINUES, GOES_ON = 11, 12, 13, 14
# Of the samples seen through, those amid others: a piece of the surface is not there.
MISSING = 15
COLUMNS = 16

_SIDE = 64  # of the patch that a part is drawn in, samples at most
_TOLERANCE_M, _SIGMAS, _MOST_TOLERANCE = 0.003, 3.0, 0.08  # the last in diameters
_SLANTED = 4.0  # tolerances along the ray, where a surface is slanted
_MISSING = 2.0  # tolerances along the ray, behind which a surface is another one
_LEAST_FACING = 0.3  # cosine below which normals tell little
# Depth smears edges over some pixels, so where it goes on it has to do so for a while.
_RING_PX, _RINGS = 3.0, 3


def verify(
    mesh: TriangleMesh, diameter: float, poses: Array, scene: OrientedDepth, on_plane: Mask, near_plane: Mask
) -> tuple[Array, NDArray[np.int64], Ints]:
    """Return the counts (N, COLUMNS) of poses (N, 4, 4), and which pixels confirm each.

    What is on a plane (h, w) confirms nothing, what is near one (h, w) ends a contour. The pixels are flat indices (P,)
    of the image; those of pose i are ``starts[i]`` to ``starts[i + 1]``.
    """
    camera, noise = scene.view.camera, scene.view.noise
    counts = np.zeros((len(poses), COLUMNS))
    pixels = np.zeros((len(poses), _SIDE * _SIDE), dtype=np.int32)
    lengths = np.zeros(len(poses), dtype=np.int64)
    _verify(
        mesh.vertices,
        mesh.faces,
        np.ascontiguousarray(poses, dtype=np.float64),
        np.require(scene.view.depth_m, np.float32, ("C", "W")),
        scene.normals,
        on_plane,
        near_plane,
        np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
        np.array([noise.floor_m, noise.at_1m, _MOST_TOLERANCE * diameter]),
        counts,
        pixels,
        lengths,
    )
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return counts, starts, np.concatenate([pixels[:0, 0], *(row[:n] for row, n in zip(pixels, lengths))])


@kernel
def _verify(
    vertices: Floats,
    faces: Ints,
    poses: Array,
    depth: Floats,
    normals: Floats,
    on_plane: Mask,
    near_plane: Mask,
    lens: Array,
    noise: Array,
    counts: Array,
    pixels: Ints,
    lengths: NDArray[np.int64],
) -> None:
    height, width = depth.shape
    projected, normal = np.empty((len(vertices), 3)), np.empty(3)
    inverse, face_of = np.empty((_SIDE, _SIDE)), np.empty((_SIDE, _SIDE), dtype=np.int32)
    is_behind = np.empty((_SIDE, _SIDE), dtype=np.bool_)
    for i in range(len(poses)):
        if not project(vertices, poses[i], lens, projected):
            continue
        first_u, first_v = projected[:, 0].min(), projected[:, 1].min()
        size = max(projected[:, 0].max() - first_u, projected[:, 1].max() - first_v) + 1.0
        stride = max(1, math.ceil(size / (_SIDE - 4)))
        left, top = math.floor(first_u) - stride, math.floor(first_v) - stride
        draw(projected, faces, left, top, stride, inverse, face_of)
        of_pose, number = counts[i], 0
        is_behind[:] = False
        for y in range(1, _SIDE - 1):
            for x in range(1, _SIDE - 1):
                if inverse[y, x] <= 0.0:
                    continue
                of_pose[AREA] += 1
                row, column = top + y * stride, left + x * stride
                if row < 0 or column < 0 or row >= height or column >= width:
                    continue
                z = 1.0 / inverse[y, x]
                facing = _face_normal(vertices, faces, face_of[y, x], poses[i], row, column, lens, normal)
                sigma = math.sqrt(noise[0] ** 2 + (noise[1] * z * z) ** 2)
                # A sensor that is no finer than a part tells nothing of it.
                limit = min(max(_TOLERANCE_M, _SIGMAS * sigma), noise[2])
                is_on_plane = on_plane[row // STRIDE, column // STRIDE]
                measured_normal = normals[row // STRIDE, column // STRIDE]
                d = depth[row, column]
                is_behind[y, x] = d - z > _MISSING * limit and (d - z) * facing > limit
                is_confirmed = _compare(d, z, limit, facing, is_on_plane, measured_normal, normal, of_pose)
                if is_confirmed:
                    pixels[i, number] = row * width + column
                    number += 1
                from_m = d if is_confirmed else z if d >= z else -1.0
                _look_beside(y, x, row, column, stride, from_m, limit, is_on_plane, inverse, depth, near_plane, of_pose)
        of_pose[MISSING] = _amid_others(is_behind)
        lengths[i] = number


@kernel
def _amid_others(samples: Mask) -> int:
    """Return how many of the samples (h, w) have four neighbours that are samples, too."""
    count = 0
    for y in range(1, _SIDE - 1):
        for x in range(1, _SIDE - 1):
            beside = samples[y - 1, x] and samples[y + 1, x] and samples[y, x - 1] and samples[y, x + 1]
            count += samples[y, x] and beside
    return count


@kernel
def _face_normal(
    vertices: Floats, faces: Ints, face: int, pose: Array, row: int, column: int, lens: Array, normal: Array
) -> float:
    """Write the unit normal (3,) of a face towards the camera, and return its cosine with the ray of a pixel."""
    a, b, c = vertices[faces[face, 0]], vertices[faces[face, 1]], vertices[faces[face, 2]]
    px, py, pz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    qx, qy, qz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    x, y, z = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
    length = math.sqrt(x * x + y * y + z * z) + 1e-20
    for k in range(3):
        normal[k] = (pose[k, 0] * x + pose[k, 1] * y + pose[k, 2] * z) / length
    ray_x, ray_y = (column - lens[2]) / lens[0], (row - lens[3]) / lens[1]
    facing = -(normal[0] * ray_x + normal[1] * ray_y + normal[2]) / math.sqrt(ray_x * ray_x + ray_y * ray_y + 1.0)
    if facing < 0.0:  # an open surface, seen from inside
        for k in range(3):
            normal[k] = -normal[k]
        facing = -facing
    return float(facing)


@kernel
def _compare(
    d: float, z: float, limit: float, facing: float, is_on_plane: bool, measured: Floats, normal: Array, counts: Array
) -> bool:
    """Count what depth ``d`` says of a surface at ``z`` with a normal (3,); return whether it confirms it."""
    counts[EXPECTED] += 1
    if d <= 0.0:
        counts[HOLES] += 1
        return False
    gap = d - z
    off = gap * facing  # from the model's plane, not along the ray
    if abs(off) >= limit or abs(gap) >= _SLANTED * limit:
        counts[BEHIND if gap > 0.0 else FRONT] += 1
        return False
    if is_on_plane:
        counts[PLANE] += 1
        return False
    counts[CONFIRMED] += 1
    counts[SQUARES] += (off / limit) ** 2
    counts[SQUARES_M2] += off * off
    if measured[2] != 0.0 and facing > _LEAST_FACING:
        cosine = measured[0] * normal[0] + measured[1] * normal[1] + measured[2] * normal[2]
        counts[ORIENTED] += 1
        counts[AGREEING] += max(cosine, 0.0) ** 2
    return True


@kernel
def _look_beside(
    y: int,
    x: int,
    row: int,
    column: int,
    stride: int,
    from_m: float,
    limit: float,
    is_on_plane: bool,
    inverse: Array,
    depth: Floats,
    near_plane: Mask,
    counts: Array,
) -> None:
    """Count on which sides of a sample the silhouette ends, and whether depth falls off there from ``from_m``.

    That is below zero where something hides the sample: it tells nothing, but counts as a side.
    """
    height, width = depth.shape
    for side in range(4):
        step_x = (1 if side == 0 else 0) - (1 if side == 1 else 0)
        step_y = (1 if side == 2 else 0) - (1 if side == 3 else 0)
        if inverse[y + step_y, x + step_x] > 0.0:
            continue
        ends = goes_on = continues = is_told = False
        for ring in range(1, _RINGS + 1):
            reach = int(max(_RING_PX, float(stride)) * ring)
            r, c = row + step_y * reach, column + step_x * reach
            if r < 0 or c < 0 or r >= height or c >= width:
                break
            # A gap between two pieces of the part is too narrow to tell.
            sample_y, sample_x = y + step_y * (reach // stride), x + step_x * (reach // stride)
            if 0 <= sample_y < _SIDE and 0 <= sample_x < _SIDE and inverse[sample_y, sample_x] > 0.0:
                is_told = False
                break
            is_told, goes_on = True, False
            if depth[r, c] <= 0.0 or from_m < 0.0:
                break
            farther = depth[r, c] - from_m
            is_plane = near_plane[r // STRIDE, c // STRIDE] and not is_on_plane
            ends = farther > limit or (is_plane and farther > -limit)
            goes_on = not ends and farther > -limit
            continues |= goes_on and ring == 1
            if not goes_on:
                break
        if is_told:
            counts[EDGES] += 1
            counts[ENDS] += ends
            counts[CONTINUES] += continues
            counts[GOES_ON] += goes_on
