"""Prints change an object's colours and nothing else, and only scenes that ask for them have any."""

from __future__ import annotations

import dataclasses

import numpy as np
import trimesh

from object_pose.core.geometry.symmetry import Symmetry
from object_pose.simulation.parts.objects import SceneObject, object_model, part_objects
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


def test_large_flats_are_divided_beside_thousands_of_small_faces_and_nothing_comes_apart():
    flat = trimesh.creation.box((0.1, 0.06, 0.04))
    round_ = trimesh.creation.icosphere(4, 0.01).apply_translation((0.0, 0.0, 0.05))
    part = trimesh.util.concatenate([flat, round_])
    fine = divided(make_render_mesh("part", np.asarray(part.vertices), np.asarray(part.faces), bake=False))
    drawn = trimesh.Trimesh(fine.vertices.astype(np.float64), fine.faces)
    assert len(round_.faces) > 5000 and len(fine.faces) <= 20_000
    assert drawn.edges_unique_length.max() <= 0.04 * part.extents.max() + 1e-6
    assert drawn.is_watertight and np.isclose(drawn.volume, part.volume, rtol=1e-4)
    assert len(drawn.split()) == 2 and np.isclose(drawn.area, part.area, rtol=1e-4)


def cube(name, colors):
    mesh = trimesh.creation.box((0.05, 0.05, 0.05))
    drawn = make_render_mesh(name, np.asarray(mesh.vertices), np.asarray(mesh.faces), colors, bake=False)
    return SceneObject(drawn, object_model(name, mesh, Symmetry()))


def test_each_part_of_one_colour_gets_other_materials_and_the_coloured_one_keeps_its_own():
    red, mixed = np.tile([0.6, 0.0, 0.0], (8, 1)), np.random.default_rng(0).random((8, 3))
    objects = cube("red", red), cube("mixed", mixed), cube("white", None)
    assert [item.plain_color is None for item in objects] == [False, True, False]
    config = SceneConfig(floating_share=1.0, min_objects=12, max_objects=12, repaint_share=0.0, max_distractors=0)
    all_changed = dataclasses.replace(config, plain_repaint_share=1.0, plain_printed_share=1.0)
    scene = SceneSampler(objects, all_changed).sample(np.random.default_rng(0))
    assert {item.class_id for item in scene.layout} == {0, 1, 2}
    assert all((item.mesh is objects[1].mesh) == (item.class_id == 1) for item in scene.layout)
    colors = [finish.material.color for item, finish in zip(scene.layout, scene.finishes) if item.class_id == 0]
    assert max(color[2] for color in colors) > 0.05  # not tinted by the red

    none_changed = dataclasses.replace(config, plain_repaint_share=0.0, plain_printed_share=0.0)
    usual, own = (SceneSampler(objects, kind).sample(np.random.default_rng(0)) for kind in (config, none_changed))
    for placement, finish, own_placement, own_finish in zip(usual.layout, usual.finishes, own.layout, own.finishes):
        shown = placement.mesh.colors * finish.material.color
        np.testing.assert_allclose(own_placement.mesh.colors * own_finish.material.color, shown, rtol=1e-6)


def test_scenes_have_prints_where_they_are_asked_for():
    objects = part_objects(("bracket",))
    config = SceneConfig(floating_share=0.0, bin_share=0.0, min_objects=8, max_objects=8)
    for share, is_printed in ((0.0, False), (1.0, True)):
        sampler = SceneSampler(objects, dataclasses.replace(config, printed_share=share))
        scene = sampler.sample(np.random.default_rng(0))
        own = [item for item in scene.layout if item.class_id == 0]
        assert own and all((item.mesh is not objects[0].mesh) == is_printed for item in own)
