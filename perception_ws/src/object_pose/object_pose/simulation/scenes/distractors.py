"""Distractors and occluders: primitive shapes, distorted parts, bins."""

from __future__ import annotations

from functools import cache

import numpy as np
import trimesh

from object_pose.core.arrays import Array
from object_pose.simulation.parts.objects import part_object
from object_pose.simulation.parts.procedural import PART_NAMES
from object_pose.simulation.render.mesh import RenderMesh, make_render_mesh


@cache
def primitive_shapes() -> tuple[RenderMesh, ...]:
    """Return box, cylinder, sphere, cone, torus, tube and capsule, each about 2 m across, to be scaled."""
    creation = trimesh.creation
    shapes = {
        "box": creation.box((2.0, 2.0, 2.0)),
        "cylinder": creation.cylinder(1.0, 2.0, sections=28),
        "sphere": creation.icosphere(3, 1.0),
        "cone": creation.cone(1.0, 2.0, sections=28),
        "torus": creation.torus(0.75, 0.25, major_sections=28, minor_sections=14),
        "tube": creation.annulus(0.7, 1.0, 1.6, sections=28),
        "capsule": creation.capsule(1.2, 0.4, count=(20, 12)),
    }
    meshes = []
    for name, shape in shapes.items():
        vertices = np.asarray(shape.vertices) - 0.5 * (shape.bounds[0] + shape.bounds[1])
        meshes.append(make_render_mesh(name, vertices, np.asarray(shape.faces), bake=name in ("torus", "tube")))
    return tuple(meshes)


def random_distractor(rng: np.random.Generator, scale: float = 1.0) -> RenderMesh:
    """Draw a primitive of random proportions, or now and then a part too distorted to be taken for one of ours.

    Both are ``scale`` times the size that suits hand-sized parts.
    """
    if rng.random() < 0.12:
        part = part_object(PART_NAMES[int(rng.integers(len(PART_NAMES)))]).mesh
        # One axis far off: a picture cannot tell a part that is merely larger from one that is nearer.
        factors = rng.permutation([rng.uniform(0.25, 0.4), rng.uniform(0.7, 1.3), rng.uniform(1.3, 2.0)])
        return stretched(part, factors * scale)
    shapes = primitive_shapes()
    half_size = np.exp(rng.uniform(np.log(0.008), np.log(0.06))) * rng.uniform(0.5, 1.5, 3)
    return stretched(shapes[int(rng.integers(len(shapes)))], half_size * scale)


def random_occluder(rng: np.random.Generator, scale: float = 1.0) -> RenderMesh:
    """Draw something long that reaches into the picture, like a tool, an arm or a cable, ``scale`` times the usual."""
    shape = {mesh.name: mesh for mesh in primitive_shapes()}[str(rng.choice(["box", "cylinder", "capsule"]))]
    half_size = np.array([rng.uniform(0.006, 0.025), rng.uniform(0.006, 0.025), rng.uniform(0.05, 0.25)])
    return stretched(shape, half_size * scale)


def stretched(mesh: RenderMesh, factors: Array) -> RenderMesh:
    """Scale a mesh by (3,) positive factors along its axes."""
    scale = np.asarray(factors, dtype=np.float32)
    normals = mesh.normals / scale
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return RenderMesh(
        mesh.name, mesh.vertices * scale, mesh.faces, normals, mesh.colors, mesh.ambient_occlusion, mesh.two_sided
    )


def bin_mesh(inner_half_xy: Array, wall_height: float, thickness: float) -> RenderMesh:
    """Build an open bin on the plane z = 0: a floor and four walls of ``thickness`` about the inner half sizes."""
    (x, y), t, h = inner_half_xy.tolist(), thickness, wall_height
    spans = [
        ((-x - t, -y - t, 0.0), (x + t, y + t, t)),
        ((-x - t, -y - t, t), (-x, y + t, h)),
        ((x, -y - t, t), (x + t, y + t, h)),
        ((-x, -y - t, t), (x, -y, h)),
        ((-x, y, t), (x, y + t, h)),
    ]
    boxes = [_span_box(np.array(low), np.array(high)) for low, high in spans]
    joined = trimesh.util.concatenate(boxes)
    return make_render_mesh("bin", np.asarray(joined.vertices), np.asarray(joined.faces), bake=False)


def _span_box(low: Array, high: Array) -> trimesh.Trimesh:
    return trimesh.creation.box(bounds=np.stack([low, high]))
