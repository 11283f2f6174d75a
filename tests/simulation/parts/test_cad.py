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
    with pytest.raises(ConfigError, match=r"block\.stl 3.*--unit mm, m, cm"):
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


def test_a_part_that_is_flat_in_a_slanted_plane_or_far_beyond_is_refused(tmp_path):
    corners = np.array([[0, 0, 0], [40, 0, 40], [0, 30, 0], [40, 30, 40], [20, 15, 20]], np.float64)
    faces = np.array([[0, 1, 4], [1, 3, 4], [3, 2, 4], [2, 0, 4]])
    trimesh.Trimesh(corners, faces).export(tmp_path / "slanted.ply")
    with pytest.raises(DataError, match=r"slanted\.ply is flat"):
        read_parts([tmp_path / "slanted.ply"], "mm")
    (tmp_path / "far.obj").write_text(
        "v 0 0 0\nv 1e10 0 0\nv 0 1e10 0\nv 0 0 1e10\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n"
    )
    with pytest.raises(DataError, match=r"far\.obj has corners"):
        read_parts([tmp_path / "far.obj"], "mm")
    (tmp_path / "torn.obj").write_text("v 1 2\nv 2 2\nv 3 4\nv 4 4\nf 1 2 3\nf 2 3 4\nf 1 2 4\nf 1 3 4\n")
    with pytest.raises(DataError, match=r"torn\.obj has corners without three coordinates"):
        read_parts([tmp_path / "torn.obj"], "mm")


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


def outward_share(part) -> float:
    """Return the share of faces whose normal leads away from the middle: 1 for a convex part."""
    away = np.einsum("ij,ij->i", part.mesh.face_normals, part.mesh.triangles_center - part.box_centre)
    return float(np.mean(away > 0.0))


@pytest.mark.parametrize("turned", [slice(0, None), slice(0, None, 3), slice(0, 0)])
def test_faces_of_a_closed_surface_point_outwards_and_the_repair_is_said(tmp_path, turned):
    mesh = trimesh.creation.box((40.0, 30.0, 20.0))
    faces = np.array(mesh.faces)
    faces[turned] = faces[turned, ::-1]
    (part,) = read_parts([save(tmp_path, mesh=trimesh.Trimesh(mesh.vertices, faces, process=False))])
    assert part.is_closed and outward_share(part) == 1.0
    assert part.mesh.volume == pytest.approx(24e-6)
    assert bool(part.notes) == (len(faces[turned]) > 0)


def test_the_colour_of_each_face_is_kept(tmp_path):
    mesh = trimesh.creation.box((40.0, 30.0, 20.0))
    mesh.visual.face_colors = np.tile(np.array([[255, 0, 0, 255], [0, 255, 0, 255]], np.uint8), (6, 1))
    (part,) = read_parts([save(tmp_path, "faces.ply", mesh=mesh)])
    assert part.is_closed
    colors = part.colors[np.asarray(part.mesh.faces)]
    np.testing.assert_allclose(colors, np.tile(np.eye(3)[[0, 1]][:, None], (6, 3, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("material", "corner", "expected"),
    [
        ("newmtl red\nKd 0.8 0.05 0.05\n", "{0}", [0.6, 0.004, 0.004]),
        ("newmtl red\nKd 0.8 0.05 0.05\n", "{0}/1", [0.6, 0.004, 0.004]),
        ("newmtl red\nKd 0.8 0.05 0.05\nmap_Kd missing.png\n", "{0}/1", [0.6, 0.004, 0.004]),
        (None, "{0}/1", None),
        (None, "{0}", None),
    ],
)
def test_an_obj_has_the_colour_of_its_material_and_none_without(tmp_path, material, corner, expected):
    mesh = trimesh.creation.box((40.0, 30.0, 20.0))
    lines = [f"v {x} {y} {z}" for x, y, z in mesh.vertices] + ["vt 0.5 0.5"]
    if material:
        (tmp_path / "part.mtl").write_text(material)
        lines = ["mtllib part.mtl", *lines, "usemtl red"]
    lines += ["f " + " ".join(corner.format(index + 1) for index in face) for face in mesh.faces]
    (tmp_path / "part.obj").write_text("\n".join(lines) + "\n")
    (part,) = read_parts([tmp_path / "part.obj"])
    if expected is None:
        assert part.colors is None
    else:
        np.testing.assert_allclose(part.colors, [expected] * len(part.mesh.vertices), atol=0.01)


def test_bodies_of_a_glb_stand_in_their_places_with_their_colours(tmp_path):
    plate, knob = trimesh.creation.box((0.04, 0.03, 0.01)), trimesh.creation.icosphere(radius=0.008)
    red = trimesh.visual.material.PBRMaterial(baseColorFactor=[200, 30, 30, 255])
    plate.visual = trimesh.visual.TextureVisuals(material=red)
    scene = trimesh.Scene([plate])
    scene.add_geometry(knob, transform=trimesh.transformations.translation_matrix((0.0, 0.0, 0.02)))
    scene.export(tmp_path / "part.glb")
    (part,) = read_parts([tmp_path / "part.glb"])
    np.testing.assert_allclose(part.size_m, [0.04, 0.03, 0.033], atol=1e-6)
    below = part.mesh.vertices[:, 2] < 0.006
    np.testing.assert_allclose(part.colors[below], [[0.578, 0.013, 0.013]] * np.count_nonzero(below), atol=0.01)
    np.testing.assert_allclose(part.colors[~below], 1.0)


def test_parts_become_bop_models_with_their_names_and_symmetries(tmp_path):
    paths = [save(tmp_path, "Plate.stl", (40.0, 40.0, 8.0)), save(tmp_path, "rod.stl")]
    parts = read_parts(paths)
    symmetry = Symmetry(axis=np.array([0.0, 0.0, 1.0]))
    objects = [part.scene_object(found) for part, found in zip(parts, (symmetry, Symmetry()))]
    plate, rod = load_bop_objects(write_bop_models(tmp_path / "set", objects))
    assert (plate.model.name, rod.model.name) == ("plate", "rod")
    np.testing.assert_allclose(plate.model.box_size, [0.04, 0.04, 0.008], atol=1e-6)
    assert plate.model.symmetry.axis.tolist() == [0.0, 0.0, 1.0] and rod.model.symmetry.is_trivial
