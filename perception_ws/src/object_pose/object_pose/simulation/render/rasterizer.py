"""A z-buffer rasteriser: screen triangles in, the nearest triangle of every pixel out.

Pixel centres are integers and image y points down. Inverse depth is 1/z in a perspective image, where it is linear on
the screen and makes depth exact; in an orthographic image minus z takes its place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from object_pose.core.kernels import kernel

FloatArray = NDArray[np.float64]
InverseDepthMap = NDArray[np.float32]
IntArray = NDArray[np.int32]

HIDDEN = -1e30  # inverse depth of a vertex that must not be drawn
_NEAR_PLANE_M = 0.02


@kernel
def project_perspective(points: NDArray[np.float32], camera: FloatArray, screen: FloatArray) -> None:
    """Fill ``screen`` (V, 3) with pixel x, y and inverse depth 1/z of (V, 3) points.

    ``camera`` is the (3, 4) projection matrix K [R | t].
    """
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        depth = camera[2, 0] * x + camera[2, 1] * y + camera[2, 2] * z + camera[2, 3]
        if depth < _NEAR_PLANE_M:
            screen[i, 2] = HIDDEN
            continue
        near = 1.0 / depth
        screen[i, 0] = (camera[0, 0] * x + camera[0, 1] * y + camera[0, 2] * z + camera[0, 3]) * near
        screen[i, 1] = (camera[1, 0] * x + camera[1, 1] * y + camera[1, 2] * z + camera[1, 3]) * near
        screen[i, 2] = near


@kernel
def project_affine(points: NDArray[np.float32], matrix: FloatArray, screen: FloatArray) -> None:
    """Fill ``screen`` (V, 3) with the (3, 4) affine ``matrix`` applied to (V, 3) points: x, y, inverse depth."""
    for i in range(points.shape[0]):
        for row in range(3):
            screen[i, row] = (
                matrix[row, 0] * points[i, 0]
                + matrix[row, 1] * points[i, 1]
                + matrix[row, 2] * points[i, 2]
                + matrix[row, 3]
            )


@kernel
def rasterize(
    screen: FloatArray,
    faces: IntArray,
    two_sided: NDArray[np.bool_],
    inverse_depth: InverseDepthMap,
    triangles: IntArray,
    left: int = 0,
    top: int = 0,
) -> None:
    """Draw (F, 3) ``faces`` over (V, 3) ``screen`` vertices into ``inverse_depth`` and ``triangles`` (both (H, W)).

    Faces seen from behind are skipped unless ``two_sided`` (F,) says otherwise. The first pixel of the images is
    (``left``, ``top``) on the screen.
    """
    height, width = inverse_depth.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if screen[a, 2] == HIDDEN or screen[b, 2] == HIDDEN or screen[c, 2] == HIDDEN:
            continue
        x0, y0 = screen[a, 0], screen[a, 1]
        dx1, dy1 = screen[b, 0] - x0, screen[b, 1] - y0
        dx2, dy2 = screen[c, 0] - x0, screen[c, 1] - y0
        x0, y0 = x0 - left, y0 - top
        area = dx1 * dy2 - dx2 * dy1
        if area == 0.0 or (area > 0.0 and not two_sided[f]):
            continue
        u_first = max(int(np.ceil(x0 + min(0.0, dx1, dx2))), 0)
        u_last = min(int(np.floor(x0 + max(0.0, dx1, dx2))), width - 1)
        v_first = max(int(np.ceil(y0 + min(0.0, dy1, dy2))), 0)
        v_last = min(int(np.floor(y0 + max(0.0, dy1, dy2))), height - 1)
        if u_last < u_first or v_last < v_first:
            continue
        # Barycentric weights of b and c are linear in the pixel: weight = base + u * step_u + v * step_v.
        inverse = 1.0 / area
        b_u, b_v = dy2 * inverse, -dx2 * inverse
        c_u, c_v = -dy1 * inverse, dx1 * inverse
        near_a = screen[a, 2]
        near_b, near_c = screen[b, 2] - near_a, screen[c, 2] - near_a
        for v in range(v_first, v_last + 1):
            weight_b = b_u * (u_first - x0) + b_v * (v - y0)
            weight_c = c_u * (u_first - x0) + c_v * (v - y0)
            for u in range(u_first, u_last + 1):
                if weight_b >= 0.0 and weight_c >= 0.0 and weight_b + weight_c <= 1.0:
                    near = near_a + weight_b * near_b + weight_c * near_c
                    if near > inverse_depth[v, u]:
                        inverse_depth[v, u] = near
                        triangles[v, u] = f
                weight_b += b_u
                weight_c += c_u


@kernel
def silhouette_area(screen: FloatArray, faces: IntArray, two_sided: NDArray[np.bool_], width: int, height: int) -> int:
    """Count the pixels that ``faces`` cover when drawn alone, up to one image size beyond each image border."""
    left, right, top, bottom = 2.0 * width, -1.0 * width, 2.0 * height, -1.0 * height
    for f in range(faces.shape[0]):
        for k in range(3):
            vertex = faces[f, k]
            if screen[vertex, 2] != HIDDEN:
                left, right = min(left, screen[vertex, 0]), max(right, screen[vertex, 0])
                top, bottom = min(top, screen[vertex, 1]), max(bottom, screen[vertex, 1])
    u0, v0 = int(np.ceil(max(left, -1.0 * width))), int(np.ceil(max(top, -1.0 * height)))
    columns = int(np.floor(min(right, 2.0 * width - 1))) - u0 + 1
    rows = int(np.floor(min(bottom, 2.0 * height - 1))) - v0 + 1
    if columns <= 0 or rows <= 0:
        return 0
    inverse_depth = np.zeros((rows, columns), dtype=np.float32)
    rasterize(screen, faces, two_sided, inverse_depth, np.empty((rows, columns), dtype=np.int32), u0, v0)
    covered = 0
    for v in range(rows):
        for u in range(columns):
            if inverse_depth[v, u] > 0.0:
                covered += 1
    return covered


@kernel
def visible_regions(instance_ids: IntArray, counts: NDArray[np.int64], boxes: NDArray[np.int64]) -> None:
    """Fill ``counts`` (N,) and inclusive pixel ``boxes`` (N, 4) xyxy of each id 0..N-1 in (H, W) ``instance_ids``."""
    height, width = instance_ids.shape
    for i in range(counts.shape[0]):
        counts[i] = 0
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = width, height, -1, -1
    for v in range(height):
        for u in range(width):
            i = instance_ids[v, u]
            if i < 0:
                continue
            counts[i] += 1
            boxes[i, 0], boxes[i, 1] = min(boxes[i, 0], u), min(boxes[i, 1], v)
            boxes[i, 2], boxes[i, 3] = max(boxes[i, 2], u), max(boxes[i, 3], v)


@kernel
def relabel(labels: IntArray, table: IntArray, relabelled: IntArray) -> None:
    """Fill ``relabelled`` (H, W) with ``table[label]`` of every label; negative labels become -1."""
    for v in range(labels.shape[0]):
        for u in range(labels.shape[1]):
            label = labels[v, u]
            relabelled[v, u] = table[label] if label >= 0 else -1
