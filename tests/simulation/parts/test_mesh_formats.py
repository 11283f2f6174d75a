"""CAD files as exporters write them: 3MF in its unit, glTF with extensions, files that are missing beside them."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import trimesh

from object_pose.core.errors import DataError
from object_pose.simulation.parts.cad import read_parts

BOX = trimesh.creation.box((40.0, 30.0, 20.0))
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
SPACES = 'xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02" xmlns:p="http://x/production"'


def mesh_xml(attributes=""):
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in BOX.vertices)
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in BOX.faces)
    inside = f"<vertices>{vertices}</vertices><triangles>{triangles}</triangles>"
    return f'<object id="1"{attributes}><mesh>{inside}</mesh></object>'


def write_3mf(path, resources, build='<item objectid="1"/>', unit="millimeter", **others):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        model = f'{HEAD}<model unit="{unit}" {SPACES}><resources>{resources}</resources><build>{build}</build></model>'
        archive.writestr("3D/3dmodel.model", model)
        for name, text in others.items():
            archive.writestr(f"3D/Objects/{name}.model", text)
    return path


@pytest.mark.parametrize(("unit", "scale"), [("millimeter", 1.0), ("inch", 25.4), ("centimeter", 10.0)])
def test_a_3mf_file_is_read_in_its_unit(tmp_path, unit, scale):
    (part,) = read_parts([write_3mf(tmp_path / "part.3mf", mesh_xml(), unit=unit)])
    np.testing.assert_allclose(part.size_m * 1e3, np.array([40.0, 30.0, 20.0]) * scale)
    assert part.is_closed and part.unit == "m" and part.colors is None


def test_bodies_of_a_3mf_file_stand_in_their_places_with_their_colours(tmp_path):
    """As slicers write it: the mesh in another file of the archive, twice as a component, once turned and moved."""
    colors = '<base name="a" displaycolor="#FF0000"/><base name="b" displaycolor="#00FF00FF"/>'
    body = mesh_xml(attributes=' pid="9" pindex="1"')
    resources = f'<resources><basematerials id="9">{colors}</basematerials>{body}</resources>'
    other = f"{HEAD}<model {SPACES}>{resources}<build/></model>"
    place = '<component p:path="/3D/Objects/body.model" objectid="1" transform="{0}"/>'
    parts = place.format("1 0 0 0 1 0 0 0 1 0 0 0") + place.format("0 1 0 -1 0 0 0 0 1 100 0 0")
    resources = f'<object id="7"><components>{parts}</components></object>'
    path = write_3mf(tmp_path / "part.3mf", resources, '<item objectid="7"/>', body=other)
    (part,) = read_parts([path])
    np.testing.assert_allclose(part.mesh.bounds * 1e3, [[-20, -20, -10], [115, 20, 10]], atol=1e-9)
    assert part.mesh.volume * 1e9 == pytest.approx(48000.0)
    np.testing.assert_allclose(part.colors, [[0.0, 1.0, 0.0]] * len(part.colors), atol=1e-6)


@pytest.mark.parametrize(
    ("resources", "build", "unit", "text"),
    [
        (mesh_xml(), '<item objectid="3"/>', "millimeter", "object 3 is missing"),
        (mesh_xml(), "", "millimeter", "holds no surface"),
        (mesh_xml(), '<item objectid="1"/>', "parsec", "has the unit 'parsec'"),
        ('<object id="1"><components><component objectid="1"/></components></object>',
         '<item objectid="1"/>', "millimeter", "made of too many others"),
        ("<!DOCTYPE x>", '<item objectid="1"/>', "millimeter", "document type"),
    ],
)  # fmt: skip
def test_a_3mf_file_that_cannot_be_read_is_named(tmp_path, resources, build, unit, text):
    with pytest.raises(DataError, match=text) as raised:
        read_parts([write_3mf(tmp_path / "part.3mf", resources, build, unit)])
    assert "part.3mf" in str(raised.value)


def gltf(folder, **changes):
    vertices, faces = BOX.vertices.astype(np.float32), BOX.faces.astype(np.uint16)
    (folder / "part.bin").write_bytes(vertices.tobytes() + faces.tobytes())
    document = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": vertices.nbytes + faces.nbytes, "uri": "part.bin"}],
        "bufferViews": [
            {"buffer": 0, "byteLength": vertices.nbytes},
            {"buffer": 0, "byteOffset": vertices.nbytes, "byteLength": faces.nbytes},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(vertices), "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": faces.size, "type": "SCALAR"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "nodes": [{"mesh": 0, "scale": [0.001] * 3}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    (folder / "part.gltf").write_text(json.dumps(document | changes))
    return folder / "part.gltf"


@pytest.mark.parametrize("name", ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_mesh_quantization"])
@pytest.mark.parametrize("is_binary", [False, True])
def test_gltf_that_is_packed_is_refused_by_the_name_of_its_extension(tmp_path, name, is_binary):
    path = gltf(tmp_path, extensionsUsed=[name], extensionsRequired=[name])
    if is_binary:
        content = path.read_bytes()
        content += b" " * (-len(content) % 4)
        path = tmp_path / "part.glb"
        head = b"glTF" + np.array([2, 20 + len(content), len(content)], "<u4").tobytes() + b"JSON"
        path.write_bytes(head + content)
    with pytest.raises(DataError, match=f"part.* needs the glTF extension {name} .*without compression"):
        read_parts([path])


def test_gltf_with_extensions_of_materials_is_read(tmp_path):
    names = ["KHR_materials_unlit", "KHR_texture_transform"]
    (part,) = read_parts([gltf(tmp_path, extensionsUsed=names, extensionsRequired=names[:1])])
    np.testing.assert_allclose(part.size_m, [0.04, 0.03, 0.02], atol=1e-7)


def test_gltf_that_is_nested_without_end_is_refused(tmp_path):
    surface = {"attributes": {"POSITION": 0}, "indices": 1}
    path = gltf(tmp_path, meshes=[{"primitives": [surface], "extras": {"a": "?"}}])
    path.write_text(path.read_text().replace('"?"', "[" * 700 + "]" * 700))
    with pytest.raises(DataError, match="cannot read"):
        read_parts([path])


def test_files_that_are_missing_beside_a_file_are_said(tmp_path):
    textured = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    changes = {"images": [{"uri": "my%20paint.png"}], "textures": [{"source": 0}], "materials": [textured]}
    (part,) = read_parts([gltf(tmp_path, **changes)])
    assert part.notes == ("its texture my%20paint.png is missing: colours are lost",)
    (tmp_path / "part.bin").unlink()
    with pytest.raises(DataError, match=r"needs the file part\.bin beside it"):
        read_parts([tmp_path / "part.gltf"])


@pytest.mark.parametrize(
    ("material", "note"),
    [
        (None, "its material file part.mtl is missing: colours are lost"),
        ("newmtl red\nKd 1 0 0\nmap_Kd -s 1 1 1 a.png\n", "its texture a.png is missing: the plain colour is taken"),
        ("newmtl red\nKd 1 0 0\n", None),
    ],
)
def test_what_an_obj_file_misses_is_said(tmp_path, material, note):
    if material:
        (tmp_path / "part.mtl").write_text(material)
    (tmp_path / "part.obj").write_text("mtllib part.mtl\nusemtl red\n" + BOX.export(file_type="obj"))
    (part,) = read_parts([tmp_path / "part.obj"])
    assert part.notes == ((note,) if note else ())


def moved(mesh, x, inverted=False):
    body = mesh.copy()
    body.apply_translation((x, 0.0, 0.0))
    if inverted:
        body.invert()
    return body


def test_a_body_that_points_inwards_beside_others_is_turned_and_a_cavity_stays(tmp_path):
    cavity = moved(trimesh.creation.box((10.0, 10.0, 10.0)), 0.0, inverted=True)
    bodies = [moved(BOX, 0.0), cavity, moved(BOX, 60.0, inverted=True)]
    trimesh.util.concatenate(bodies).export(tmp_path / "part.stl")
    (part,) = read_parts([tmp_path / "part.stl"])
    assert part.mesh.volume * 1e9 == pytest.approx(2 * 24000.0 - 1000.0)
    assert part.notes == ("12 of 36 faces pointed inwards and were turned outwards",)
