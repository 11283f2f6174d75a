"""The six parts: closed, metric, centred, always the same, and as symmetric as they say and no more."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from object_pose.core.errors import ConfigError
from object_pose.core.geometry import se3
from object_pose.simulation.parts.procedural import PART_NAMES, build_part, export_stl

HALF_TURNS = {axis: se3.make_transform(se3.exp_so3(np.pi * np.eye(3)[index])) for index, axis in enumerate("xyz")}
NOT_SYMMETRIC = {
    "gear": "xy",
    "spring": "",
    "hex_bolt": "xy",
    "bracket": "xyz",
    "bushing": "xy",
    "pipe_elbow": "xy",
}


def surface(mesh):
    return np.asarray(trimesh.sample.sample_surface(mesh, 20000, seed=1)[0])


def motion(part, transform):
    """Greatest distance, in diameters, of the moved surface from the surface: BOP's criterion."""
    points = surface(part.mesh)
    distance, _ = cKDTree(points).query(se3.apply(transform, points[::10]))
    return distance.max() / np.linalg.norm(part.mesh.extents)


@pytest.mark.parametrize("name", PART_NAMES)
def test_a_part_is_a_closed_solid_of_hand_size_about_its_box_centre(name):
    mesh = build_part(name).mesh
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    assert mesh.body_count == 1
    assert 500 <= len(mesh.faces) <= 5000
    assert 0.045 <= max(mesh.extents) <= 0.09
    np.testing.assert_allclose(mesh.bounds.sum(axis=0), 0.0, atol=1e-6)


@pytest.mark.parametrize("name", PART_NAMES)
def test_a_part_is_the_same_every_time(name):
    again = build_part.__wrapped__(name).mesh
    np.testing.assert_array_equal(again.vertices, build_part(name).mesh.vertices)
    np.testing.assert_array_equal(again.faces, build_part(name).mesh.faces)


@pytest.mark.parametrize("name", PART_NAMES)
def test_declared_symmetries_move_the_surface_less_than_a_tenth_of_the_diameter(name):
    part = build_part(name)
    assert max(motion(part, transform) for transform in part.symmetry.transforms[::9]) < 0.1


@pytest.mark.parametrize(("name", "axis"), [(name, axis) for name in PART_NAMES for axis in NOT_SYMMETRIC[name]])
def test_other_half_turns_move_the_surface_visibly(name, axis):
    """A head or hub on one side only tells up from down, though it may move less than BOP's tenth."""
    assert motion(build_part(name), HALF_TURNS[axis]) > 0.06


def test_an_unknown_part_is_refused_with_the_known_names():
    with pytest.raises(ConfigError, match="pipe_elbow"):
        build_part("sprocket")


def test_stl_files_hold_the_meshes_in_metres(tmp_path):
    paths = export_stl(tmp_path / "meshes")
    assert [path.stem for path in paths] == list(PART_NAMES)
    for path in paths:
        np.testing.assert_allclose(trimesh.load(path).extents, build_part(path.stem).mesh.extents, atol=1e-6)
