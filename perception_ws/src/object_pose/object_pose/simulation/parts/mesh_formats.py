"""What single mesh formats need beyond triangles: glTF's extensions, files beside a file, and 3MF."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element

import numpy as np
import trimesh

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.io.files import parse_xml

# Extensions that change where corners are; trimesh passes over them.
_UNREAD_EXTENSIONS = {
    "KHR_draco_mesh_compression",
    "EXT_meshopt_compression",
    "KHR_meshopt_compression",
    "KHR_mesh_quantization",
    "EXT_mesh_gpu_instancing",
}
_GLB_HEAD = struct.Struct("<4sIIII")  # magic, version, length of the file, length of the JSON, "JSON"
_METRES = {"micron": 1e-6, "millimeter": 1e-3, "centimeter": 1e-2, "inch": 0.0254, "foot": 0.3048, "meter": 1.0}
_MAIN_MODEL = "3D/3dmodel.model"
_MOST_MODEL_BYTES = 512 << 20
_MOST_BODIES, _DEEPEST = 10_000, 10
_WHITE = (255, 255, 255, 255)


def missing_files(path: Path) -> tuple[str, ...]:
    """Return a note for each picture or material file that an OBJ or glTF file names and that is not there.

    Raises ``DataError`` for glTF whose geometry is not there, or is packed by an extension.
    """
    suffix = path.suffix.lower()
    if suffix == ".obj":
        return tuple(_missing_of_obj(path))
    return tuple(_missing_of_gltf(path)) if suffix in (".gltf", ".glb") else ()


def _missing_of_obj(path: Path) -> Iterator[str]:
    for material in _named_after("mtllib", path):
        if not material.is_file():
            yield f"its material file {material.name} is missing: colours are lost"
            continue
        for picture in _named_after("map_Kd", material):
            if not picture.is_file():
                yield f"its texture {picture.name} is missing: the plain colour is taken"


def _named_after(word: str, path: Path) -> list[Path]:
    """Return the files that the lines of a text file name after a word; options such as '-s 1 1 1' come before."""
    lines = path.read_text(errors="replace").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines]
    named = [pair[1].strip() for pair in pairs if len(pair) == 2 and pair[0] == word]
    whole = [path.parent / name.replace("\\", "/") for name in named]
    return [file if file.is_file() else path.parent / name.split()[-1] for file, name in zip(whole, named)]


def _missing_of_gltf(path: Path) -> Iterator[str]:
    document = _gltf_document(path)
    required = document.get("extensionsRequired")
    unread = sorted(_UNREAD_EXTENSIONS.intersection(map(str, required if isinstance(required, list) else ())))
    if unread:
        raise DataError(f"{path} needs the glTF extension {unread[0]}", "export it without compression")
    for kind in ("buffers", "images"):
        items = document.get(kind)
        for item in items if isinstance(items, list) else ():
            name = item.get("uri") if isinstance(item, dict) else None
            if not isinstance(name, str) or name.startswith("data:") or (path.parent / unquote(name)).is_file():
                continue
            if kind == "buffers":
                raise DataError(f"{path} needs the file {name} beside it", "copy it there, or export a single .glb")
            yield f"its texture {name} is missing: colours are lost"


def _gltf_document(path: Path) -> dict[str, Any]:
    """Return the JSON of a .gltf or .glb file, empty where it is none: its reader says what is wrong."""
    content = path.read_bytes()
    if content[:4] == b"glTF" and len(content) >= _GLB_HEAD.size:
        length = _GLB_HEAD.unpack_from(content)[3]
        content = content[_GLB_HEAD.size : _GLB_HEAD.size + length]
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def load_3mf(path: Path) -> list[trimesh.Trimesh]:
    """Return the bodies of a 3MF file in metres, in their places on the build plate, with the colours of their faces.

    Parts of the model may lie in other files of the archive, as slicers keep them. Raises ``DataError``, and whatever
    a damaged archive leads to.
    """
    with zipfile.ZipFile(path) as archive:
        known: dict[str, Element] = {}

        def model(name: str) -> Element:
            if name not in known:
                info = archive.getinfo(name.lstrip("/"))
                if info.file_size > _MOST_MODEL_BYTES:
                    raise DataError(f"{path} holds a model of {info.file_size} bytes", "export the part again")
                known[name] = parse_xml(archive.read(info).decode("utf-8-sig"))
            return known[name]

        root = model(_MAIN_MODEL)
        unit = root.get("unit", "millimeter")
        if unit not in _METRES:
            raise DataError(f"{path} has the unit '{unit}'", f"expected one of {', '.join(_METRES)}")
        bodies: list[trimesh.Trimesh] = []
        for item in root.iterfind("{*}build/{*}item"):
            scaled = np.diag([_METRES[unit]] * 3 + [1.0]) @ _placement(item)
            _collect(model, _path_of(item, _MAIN_MODEL), str(item.get("objectid")), scaled, bodies)
        return bodies


def _collect(
    model: Callable[[str], Element],
    name: str,
    key: str,
    placement: Array,
    bodies: list[trimesh.Trimesh],
    depth: int = 0,
) -> None:
    """Add the bodies of an object of a model file, and of the objects that it is made of."""
    found = [item for item in model(name).iterfind("{*}resources/{*}object") if item.get("id") == key]
    if not found or depth > _DEEPEST or len(bodies) > _MOST_BODIES:
        raise ValueError(f"its object {key} is missing, or made of too many others")
    mesh = found[0].find("{*}mesh")
    if mesh is not None:
        bodies.append(_body(found[0], mesh, _colors(model(name)), placement))
    for part in found[0].iterfind("{*}components/{*}component"):
        own = placement @ _placement(part)
        _collect(model, _path_of(part, name), str(part.get("objectid")), own, bodies, depth + 1)


def _path_of(element: Element, default: str) -> str:
    """Return the file of the archive that an element's object is in: an attribute of a namespace of its own."""
    return next((value for name, value in element.attrib.items() if name.endswith("}path")), default)


def _placement(element: Element) -> Array:
    """Return a transform (4, 4) from twelve numbers, of which each three are a column's image."""
    text = element.get("transform")
    placement = np.eye(4)
    if text:
        placement[:3] = np.array(text.split(), dtype=np.float64).reshape(4, 3).T
    return placement


def _colors(root: Element) -> dict[str, list[tuple[int, ...]]]:
    """Return the colours of a model's groups of materials, by the group's id."""
    colors = {}
    for group in root.iterfind("{*}resources/*"):
        texts = [item.get("displaycolor") or item.get("color") or "" for item in group]
        if any(texts):
            colors[str(group.get("id"))] = [_rgba(text) for text in texts]
    return colors


def _rgba(text: str) -> tuple[int, ...]:
    return (*bytes.fromhex(text[1:7]), 255) if len(text) in (7, 9) and text[0] == "#" else _WHITE


def _body(item: Element, mesh: Element, colors: dict[str, list[tuple[int, ...]]], placement: Array) -> trimesh.Trimesh:
    corners = [[float(vertex.get(axis, "")) for axis in "xyz"] for vertex in mesh.iterfind("{*}vertices/{*}vertex")]
    triangles = list(mesh.iterfind("{*}triangles/{*}triangle"))
    faces = [[int(triangle.get(name, "")) for name in ("v1", "v2", "v3")] for triangle in triangles]
    vertices = np.array(corners, dtype=np.float64).reshape(-1, 3) @ placement[:3, :3].T + placement[:3, 3]
    groups = [(t.get("pid", item.get("pid")), t.get("p1", item.get("pindex", "0"))) for t in triangles]
    picked = [colors[pid][int(index)] if pid in colors else None for pid, index in groups]
    body = trimesh.Trimesh(vertices, np.array(faces, dtype=np.int64).reshape(-1, 3), process=False)
    if any(color is not None for color in picked):
        body.visual.face_colors = np.array([color or _WHITE for color in picked], dtype=np.uint8)
    return body
