"""CAD files: read in metres with their colours, and refused clearly where training would go wrong later."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from object_pose.core.errors import ConfigError, DataError
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.simulation.generators.bop import write_bop_models
from object_pose.simulation.parts.cad import read_parts
from object_pose.simulation.parts.objects import load_bop_objects
from object_pose.simulation.parts.procedural import build_part


def save(folder, name="block.stl", size=(40.0, 30.0, 20.0), move=(0.0, 0.0, 0.0), mesh=None):
    mesh = trimesh.creation.box(size) if mesh is None else mesh
    mesh.apply_translation(move)
    mesh.export(folder / name)
    return folder / name


@pytest.mark.parametrize(("scale", "unit"), [(1000.0, "mm"), (1.0, "m")])
def test_a_clear_unit_is_seen_from_the_size(tmp_path, scale, unit):
    original = build_part("bracket").mesh
    mesh = original.copy()
    mesh.apply_scale(scale)
    (part,) = read_parts([save(tmp_path, "Angle Bracket-2.stl", mesh=mesh)])
    assert (part.name, part.unit, part.is_closed, part.colors) == ("angle_bracket_2", unit, True, None)
    np.testing.assert_allclose(part.size_m, original.extents, atol=1e-6)


def test_an_unclear_unit_is_asked_for_and_a_stated_one_is_checked(tmp_path):
    path = save(tmp_path, size=(3.0, 2.0, 2.0))
    with pytest.raises(ConfigError, match=r"block\.stl 3.*--unit mm or --unit m"):
        read_parts([path])
    for unit in ("mm", "m"):
        with pytest.raises(DataError, match=r"is --unit right\?"):
            read_parts([path], unit)
    with pytest.raises(ConfigError, match="not clear"):
        read_parts([save(tmp_path, "a.stl"), save(tmp_path, "b.stl", (0.04, 0.03, 0.02))])


def test_an_origin_far_away_is_refused_unless_it_is_moved(tmp_path):
    path = save(tmp_path, move=(900.0, 0.0, 0.0))
    with pytest.raises(DataError, match="900 mm away from its own origin"):
        read_parts([path])
    (part,) = read_parts([path], centred=True)
    np.testing.assert_allclose(part.box_centre, 0.0, atol=1e-9)


def test_files_that_hold_no_solid_are_named(tmp_path):
    (tmp_path / "torn.stl").write_bytes(b"solid nothing")
    (tmp_path / "text.obj").write_text("hello")
    flat = save(tmp_path, "flat.stl", (40.0, 30.0, 0.0))
    missing = tmp_path / "missing.stl"
    for path in (tmp_path / "torn.stl", tmp_path / "text.obj", flat, missing):
        with pytest.raises(DataError, match=path.name):
            read_parts([path])


def test_two_files_of_one_name_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="two parts would be called 'block'"):
        read_parts([save(tmp_path), save(tmp_path / "other")])


def test_an_open_surface_is_known_and_colours_are_kept(tmp_path):
    mesh = trimesh.creation.box((40.0, 30.0, 20.0))
    mesh.update_faces(np.arange(len(mesh.faces)) > 1)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.tile([255, 0, 0, 255], (len(mesh.vertices), 1)))
    (part,) = read_parts([save(tmp_path, "lid.ply", mesh=mesh)])
    assert not part.is_closed
    np.testing.assert_allclose(part.colors, [[1.0, 0.0, 0.0]] * len(part.mesh.vertices), atol=1e-6)
    item = part.scene_object(Symmetry())
    assert item.mesh.two_sided and item.mesh.colors.max(axis=0).tolist() == [1.0, 0.0, 0.0]


def test_parts_become_bop_models_with_their_names_and_symmetries(tmp_path):
    paths = [save(tmp_path, "Plate.stl", (40.0, 40.0, 8.0)), save(tmp_path, "rod.stl")]
    parts = read_parts(paths)
    symmetry = Symmetry(axis=np.array([0.0, 0.0, 1.0]))
    objects = [part.scene_object(found) for part, found in zip(parts, (symmetry, Symmetry()))]
    plate, rod = load_bop_objects(write_bop_models(tmp_path / "set", objects))
    assert (plate.model.name, rod.model.name) == ("plate", "rod")
    np.testing.assert_allclose(plate.model.box_size, [0.04, 0.04, 0.008], atol=1e-6)
    assert plate.model.symmetry.axis.tolist() == [0.0, 0.0, 1.0] and rod.model.symmetry.is_trivial
