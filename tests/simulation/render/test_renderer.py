"""Pictures agree with geometry: depth, silhouettes, visibility and shadows."""

import numpy as np
import pytest
import trimesh

from object_pose.core.geometry import se3
from object_pose.simulation.parts.objects import part_object
from object_pose.simulation.render.mesh import make_render_mesh
from object_pose.simulation.render.renderer import Placement
from object_pose.simulation.scenes.layout import look_at


def placed(shape, translation=(0.0, 0.0, 0.0), class_id=0):
    mesh = make_render_mesh("shape", np.asarray(shape.vertices), np.asarray(shape.faces), bake=False)
    return Placement(mesh, se3.make_transform(translation=translation), class_id)


def rays(camera, T_world_camera):
    """World directions (H, W, 3) of unit depth through the pixel centres."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    local = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], axis=-1)
    return local @ T_world_camera[:3, :3].T


def test_a_meshed_plane_has_the_depth_of_the_plane(photograph, camera):
    slab = trimesh.creation.box(bounds=[[-0.1, -0.1, -0.01], [0.1, 0.1, 0.02]])
    pose = look_at(np.array([0.3, -0.1, 0.4]), np.zeros(3), 0.3)
    picture = photograph([placed(slab)], pose)
    direction = rays(camera, pose)
    distance = (0.02 - pose[2, 3]) / direction[..., 2]
    hit = pose[:3, 3] + distance[..., None] * direction
    on_top = np.all(np.abs(hit[..., :2]) < 0.098, axis=-1)
    assert on_top.sum() > 500
    np.testing.assert_allclose(picture.depth_m[on_top], distance[on_top], atol=1e-5)
    assert np.all(picture.placements[on_top] == 0)


def test_the_table_has_the_depth_of_its_plane(photograph, camera):
    pose = look_at(np.array([0.2, 0.3, 0.5]), np.zeros(3))
    picture = photograph([], pose)
    np.testing.assert_allclose(picture.depth_m, -pose[2, 3] / rays(camera, pose)[..., 2], atol=1e-5)


def test_a_sphere_has_the_depth_of_a_sphere(photograph, camera):
    center, radius = np.array([0.01, 0.02, 0.1]), 0.05
    pose = look_at(np.array([0.2, 0.1, 0.5]), np.zeros(3))
    picture = photograph([placed(trimesh.creation.icosphere(5, radius), center)], pose)
    direction = rays(camera, pose)
    offset = pose[:3, 3] - center
    a, b = np.sum(direction**2, axis=-1), direction @ offset
    inside = b**2 - a * (offset @ offset - (0.9 * radius) ** 2)
    root = b**2 - a * (offset @ offset - radius**2)
    seen = inside > 0
    assert seen.sum() > 300
    distance = (-b[seen] - np.sqrt(root[seen])) / a[seen]
    np.testing.assert_allclose(picture.depth_m[seen], distance, atol=1e-4)


def test_pixel_centres_are_integers(photograph, camera):
    """A square that spans pixels 60..99 at their outer edges covers exactly these."""
    depth = 0.5 - 0.02
    low, high = [(np.array([p, p]) - (camera.cx, camera.cx)) / camera.fx * depth for p in (59.5, 99.5)]
    slab = trimesh.creation.box(bounds=[[low[0], low[1], 0.0], [high[0], high[1], 0.02]])
    covered = photograph([placed(slab)]).placements == 0
    assert np.flatnonzero(covered.any(axis=0)).tolist() == list(range(60, 100))
    assert covered.any(axis=1).sum() == 40


def test_the_area_alone_ignores_what_is_in_front_and_the_image_border(photograph):
    cube = trimesh.creation.box((0.06, 0.06, 0.06))
    alone = photograph([placed(cube, (0.0, 0.0, 0.03))])
    lid = placed(trimesh.creation.box((0.2, 0.2, 0.01)), (0.1, 0.0, 0.2), class_id=-1)
    covered = photograph([placed(cube, (0.0, 0.0, 0.03)), lid])
    half = (covered.placements == 0).sum() / covered.areas[0]
    assert alone.areas[0] == (alone.placements == 0).sum() == covered.areas[0]
    assert half == pytest.approx(0.5, abs=0.05)
    cut = photograph([placed(cube, (0.27, 0.0, 0.03))])
    assert 0 < (cut.placements == 0).sum() < 0.8 * cut.areas[0]


def test_the_nearer_object_wins_whatever_the_order(photograph):
    near = placed(trimesh.creation.box((0.05, 0.05, 0.01)), (0.0, 0.0, 0.2))
    far = placed(trimesh.creation.box((0.1, 0.1, 0.01)), (0.0, 0.0, 0.05))
    assert photograph([near, far]).placements[60, 80] == 0
    assert photograph([far, near]).placements[60, 80] == 1


def test_things_cast_shadows_away_from_the_light(photograph):
    """The light comes from +x, and the camera sees +x to the right: the shadow lies on the left."""
    post = placed(trimesh.creation.box((0.03, 0.03, 0.08)), (0.0, 0.0, 0.04))
    rgb = photograph([post]).rgb.astype(float).mean(axis=2)
    left, right = rgb[60, 80 - 22], rgb[60, 80 + 22]
    assert left < 0.8 * right


def test_a_shape_seen_from_inside_is_not_drawn_but_an_open_one_is(photograph):
    shape = trimesh.creation.box((0.1, 0.1, 0.1))
    shape.invert()
    inverted = placed(shape, (0.0, 0.0, 0.05))
    depth = photograph([inverted]).depth_m[60, 80]
    assert depth == pytest.approx(0.5, abs=1e-4)
    mesh = make_render_mesh("open", np.asarray(shape.vertices), np.asarray(shape.faces), two_sided=True, bake=False)
    both = photograph([Placement(mesh, inverted.T_world_object)]).depth_m[60, 80]
    assert both == pytest.approx(0.4, abs=1e-4)


def test_hollows_see_less_sky_than_outsides():
    mesh = part_object("bushing").mesh
    radius = np.linalg.norm(mesh.vertices[:, :2], axis=1)
    in_bore = (radius < 0.0125) & (np.abs(mesh.vertices[:, 2]) < 0.019)
    assert in_bore.any()
    assert mesh.ambient_occlusion[in_bore].mean() < 0.75 * mesh.ambient_occlusion[radius > 0.0255].mean()
