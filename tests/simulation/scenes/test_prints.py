"""Prints change an object's colours and nothing else, and only scenes that ask for them have any."""

from __future__ import annotations

import dataclasses

import numpy as np
import trimesh

from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.render.mesh import make_render_mesh
from object_pose.simulation.scenes.prints import divided, printed
from object_pose.simulation.scenes.scene import SceneConfig, SceneSampler


def test_a_divided_mesh_is_the_same_surface_and_takes_the_picture():
    box = trimesh.creation.box((0.1, 0.06, 0.04))
    mesh = make_render_mesh("box", np.asarray(box.vertices), np.asarray(box.faces))
    fine = divided(mesh)
    drawn = trimesh.Trimesh(fine.vertices, fine.faces, process=False)
    assert len(fine.faces) > 1000 and np.allclose(drawn.area, box.area) and np.allclose(drawn.bounds, box.bounds)
    assert np.allclose(np.linalg.norm(fine.normals, axis=1), 1.0, atol=1e-5)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    colors = printed(fine, picture, np.random.default_rng(1)).colors
    assert colors.dtype == np.float32 and colors.min() >= 0.0 and colors.max() <= 1.0 and colors.std() > 0.1


def test_scenes_have_prints_where_they_are_asked_for():
    objects = part_objects(("bracket",))
    config = SceneConfig(floating_share=0.0, bin_share=0.0, min_objects=8, max_objects=8)
    for share, is_printed in ((0.0, False), (1.0, True)):
        sampler = SceneSampler(objects, dataclasses.replace(config, printed_share=share))
        scene = sampler.sample(np.random.default_rng(0))
        own = [item for item in scene.layout if item.class_id == 0]
        assert own and all((item.mesh is not objects[0].mesh) == is_printed for item in own)
