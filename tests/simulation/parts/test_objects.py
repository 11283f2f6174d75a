"""Mesh to object model, and the stable poses of bodies."""

import itertools

import numpy as np
import pytest
import trimesh

from object_pose.core.geometry.stable_poses import stable_rotations
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.simulation.parts.objects import object_model, part_object, part_objects
from object_pose.simulation.parts.procedural import PART_NAMES

BOX = trimesh.creation.box((0.02, 0.04, 0.06))


def test_keypoints_are_the_box_corners_with_x_slowest():
    model = object_model("box", BOX, Symmetry())
    expected = list(itertools.product((-0.01, 0.01), (-0.02, 0.02), (-0.03, 0.03)))
    np.testing.assert_allclose(model.keypoints_object, expected)
    np.testing.assert_allclose(model.box_size, (0.02, 0.04, 0.06))
    assert model.diameter == pytest.approx(np.linalg.norm((0.02, 0.04, 0.06)))


def test_surface_points_lie_on_the_surface_evenly_with_outward_normals():
    model = object_model("box", BOX, Symmetry())
    points, normals = model.points_object, model.normals_object
    assert points.shape == (800, 3)
    on_face = np.isclose(np.abs(points), (0.01, 0.02, 0.03), atol=1e-6)
    assert on_face.any(axis=1).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-9)
    assert np.all(np.einsum("ij,ij->i", points, normals) > 0)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    nearest = np.sort(gaps, axis=1)[:, 1]
    assert nearest.min() > 0.3 * nearest.max()


def test_surfaces_that_no_camera_can_see_are_not_sampled():
    inner = trimesh.creation.box((0.01, 0.01, 0.01))
    inner.invert()
    model = object_model("hollow", trimesh.util.concatenate([BOX, inner]), Symmetry())
    assert np.abs(model.points_object / (0.01, 0.02, 0.03)).max(axis=1).min() > 0.99


def test_the_dense_surface_covers_all_of_it_and_follows_its_edges():
    surface = object_model("box", BOX, Symmetry()).surface_object
    share = np.abs(surface) / (0.01, 0.02, 0.03)
    assert 3000 < len(surface) <= 4000
    np.testing.assert_allclose(share.max(axis=1), 1.0, atol=1e-6)
    on_edge = np.count_nonzero(np.isclose(share, 1.0, atol=1e-6), axis=1) >= 2
    # Some 1.2 mm apart, along twelve edges of 0.48 m in all.
    assert np.count_nonzero(on_edge) > 0.48 / 0.0018
    smooth = object_model("ball", trimesh.creation.icosphere(4, 0.02), Symmetry()).surface_object
    assert 3000 < len(smooth) <= 4000


def test_part_objects_follow_the_order_of_the_names():
    assert tuple(item.model.name for item in part_objects()) == PART_NAMES
    assert len(part_objects(("spring", "gear"))) == 2


def test_a_box_rests_on_its_six_faces_and_mostly_on_the_large_ones():
    stable = stable_rotations(np.asarray(BOX.vertices))
    assert len(stable.rotations) == 6
    assert stable.probabilities.sum() == pytest.approx(1.0)
    heights = np.ptp(np.asarray(BOX.vertices) @ stable.rotations.transpose(0, 2, 1), axis=1)[:, 2]
    assert np.all(stable.probabilities[heights < 0.03] > stable.probabilities[heights > 0.05].max())


@pytest.mark.parametrize("name", PART_NAMES)
def test_parts_in_a_stable_pose_touch_the_plane_in_three_points_around_their_centre(name):
    item = part_object(name)
    vertices = np.asarray(item.mesh.vertices, dtype=np.float64)
    for rotation in item.stable_rotations.rotations:
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
        turned = vertices @ rotation.T
        touching = turned[turned[:, 2] < turned[:, 2].min() + 5e-4]
        assert len(np.unique(touching.round(5), axis=0)) >= 3


def test_a_bolt_lies_on_its_side_far_more_often_than_it_stands():
    stable = part_object("hex_bolt").stable_rotations
    upright = np.abs(stable.rotations[:, 2, 2]) > 0.9
    assert stable.probabilities[upright].sum() < 0.15
