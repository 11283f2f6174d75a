"""Symmetries found from meshes: those that are declared, wherever the mesh lies, and words for them."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from object_pose.core.errors import ConfigError
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.io.bop import read_models_info
from object_pose.simulation.parts.procedural import PART_NAMES, build_part
from object_pose.simulation.parts.symmetry import (
    describe_symmetry,
    find_symmetry,
    measured_axes,
    near_axes,
    parse_symmetry,
    turn_residual_m,
)

SOMEWHERE = se3.make_transform(se3.exp_so3([0.4, 0.9, -0.3]), [0.1, -0.2, 0.3])


def assert_same(found: Symmetry, declared: Symmetry, tolerance_rad: float = 0.03) -> None:
    """Same axis of revolution, as a line, and the same discrete turns, up to revolution."""
    assert (found.axis is None) == (declared.axis is None)
    assert len(found.discrete) == len(declared.discrete)
    if declared.axis is not None:
        assert np.linalg.norm(np.cross(found.axis, declared.axis)) < tolerance_rad
        assert np.linalg.norm(np.cross(found.offset - declared.offset, declared.axis)) < 1e-3
    for transform in declared.discrete:
        angles = [se3.rotation_angle(other[:3, :3], transform[:3, :3]) for other in found.discrete]
        assert declared.axis is not None or min(angles) < tolerance_rad


@pytest.mark.parametrize("name", PART_NAMES)
def test_the_parts_have_the_symmetries_that_they_declare(name):
    part = build_part(name)
    assert_same(find_symmetry(part.mesh).symmetry, part.symmetry)


@pytest.mark.parametrize("name", ["spring", "pipe_elbow", "bracket"])
def test_they_are_found_wherever_the_mesh_lies(name):
    part = build_part(name)
    moved = part.mesh.copy()
    moved.apply_transform(SOMEWHERE)
    declared = part.symmetry
    discrete = SOMEWHERE @ declared.discrete @ se3.inverse(SOMEWHERE)
    axis = None if declared.axis is None else SOMEWHERE[:3, :3] @ declared.axis
    assert_same(find_symmetry(moved).symmetry, Symmetry(discrete, axis, SOMEWHERE[:3, 3]))


@pytest.mark.parametrize(
    ("mesh", "words"),
    [
        (trimesh.creation.box((0.05, 0.05, 0.05)), 23),
        (trimesh.creation.box((0.05, 0.03, 0.07)), "half turn about x, half turn about y, half turn about z"),
        (trimesh.creation.cylinder(0.02, 0.03, sections=6), 11),
        (trimesh.creation.cylinder(0.02, 0.05, sections=64), "round about z, half turn about y"),
        (trimesh.creation.cone(0.03, 0.05, sections=64), "round about z"),
        (trimesh.creation.icosphere(3, 0.03), "round about z, half turn about y"),
    ],
)
def test_simple_solids(mesh, words):
    found = find_symmetry(mesh).symmetry
    if isinstance(words, int):
        assert found.axis is None and len(found.discrete) == words
    else:
        assert describe_symmetry(found) == words


def test_every_found_turn_is_a_symmetry_of_the_surface():
    mesh = trimesh.creation.box((0.05, 0.05, 0.01))
    mesh.apply_transform(SOMEWHERE)
    for transform in find_symmetry(mesh).symmetry.discrete:
        corners = se3.apply(transform, np.asarray(mesh.vertices))
        gaps = np.linalg.norm(corners[:, None] - np.asarray(mesh.vertices)[None], axis=-1).min(axis=1)
        assert gaps.max() < 0.02 * 0.07


def test_linemods_scans_have_the_symmetries_that_bop_says(lmo_models):
    """The egg box and the glue have a half turn, as scans have it; everything else has none."""
    for object_id, info in read_models_info(lmo_models / "models_info.json").items():
        mesh = trimesh.load(lmo_models.parent / "models_eval" / f"obj_{object_id:06d}.ply", force="mesh")
        mesh.apply_scale(1e-3)
        assert_same(find_symmetry(mesh, exact_tolerance=0.06).symmetry, info.symmetry, tolerance_rad=0.1)


@pytest.mark.parametrize("text", ["none", "z", "z6", "x2", "z,x2", "z4,x2", "z12"])
def test_what_is_written_is_read_as_a_group_about_the_centre(text):
    centre = np.array([0.01, -0.02, 0.03])
    symmetry = parse_symmetry(text, centre)
    assert (symmetry.axis is not None) == (text[0] == "z" and not text[1:2].isdigit())
    for transform in symmetry.transforms:
        np.testing.assert_allclose(transform @ [*centre, 1.0], [*centre, 1.0], atol=1e-12)
    expected = {"none": 0, "z": 0, "z6": 5, "x2": 1, "z,x2": 1, "z4,x2": 7, "z12": 11}
    assert len(symmetry.discrete) == expected[text]


@pytest.mark.parametrize("text", ["", "round", "w2", "z1", "z99", "z,y", "z;x2", "2z"])
def test_what_cannot_be_understood_is_refused_with_the_grammar(text):
    with pytest.raises(ConfigError, match=r"none.*z6"):
        parse_symmetry(text, np.zeros(3))


def test_each_axis_is_measured_by_how_far_its_turns_move_the_surface():
    notched = trimesh.util.concatenate(
        [trimesh.creation.box((0.06, 0.03, 0.1)), trimesh.creation.box((0.01, 0.01, 0.003))]
    )
    # A boss of 3 mm at one end: half a turn about x or y takes it to the other end, one about z does not move it.
    notched.vertices[8:] += (0.0, 0.0, 0.0515)
    symmetry = find_symmetry(notched).symmetry
    (used,) = measured_axes(notched, symmetry)
    assert (used.text, used.term) == ("half turn about z", "z2") and used.residual_m < 1e-4
    nearly = near_axes(notched, symmetry)
    assert [axis.term for axis in nearly] == ["x2"]  # with z2 that is y2, too
    # About the middle of the box, which the boss moves by half its height.
    assert all(0.002 < axis.residual_m < 0.0035 for axis in nearly)
    assert 0.002 < turn_residual_m(notched, np.array([1.0, 0.0, 0.0]), 180.0) < 0.0035
    (bolt,) = measured_axes(build_part("hex_bolt").mesh, build_part("hex_bolt").symmetry)
    assert bolt.term == "z" and bolt.exact_folds == 6 and bolt.residual_m > 0.001
