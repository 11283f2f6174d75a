"""Files of cameras, images and meshes as fuzz inputs."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh

from benchmarks.fuzz_kinds.kind import CAMERA, Kind, depth_picture, encoded, picture, read_each, use_camera
from benchmarks.fuzz_kinds.models import pose_card
from benchmarks.fuzz_mutation import Files, dump_json
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.evaluation.samples import read_samples
from object_pose.io.camera_info import read_camera_info, write_camera
from object_pose.io.images import read_depth, read_image
from object_pose.simulation.parts.cad import read_parts


def _camera_seeds() -> list[Files]:
    matrix, d = CAMERA.matrix.ravel().tolist(), [0.1, -0.2, 0.0, 0.001, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        write_camera(Path(folder) / "camera.yaml", CAMERA)
        driver = (Path(folder) / "camera.yaml").read_bytes()
    echo = f"header:\n  frame_id: cam\nheight: 24\nwidth: 32\ndistortion_model: plumb_bob\nd: {d}\nk: {matrix}\n"
    echo += "r: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nbinning_x: 0\n"
    echo += "roi:\n  x_offset: 0\n  y_offset: 0\n  height: 0\n  width: 0\n---\n"
    opencv = cv2.FileStorage("x.yml", cv2.FileStorage_WRITE | cv2.FileStorage_MEMORY)
    for name, value in (("image_width", 32), ("image_height", 24), ("camera_matrix", CAMERA.matrix)):
        opencv.write(name, value)
    opencv.write("distortion_coefficients", np.array([d]))
    bop = {"fx": 30.0, "fy": 31.0, "cx": 15.5, "cy": 11.5, "width": 32, "height": 24, "depth_scale": 0.1}
    plain = {"image_width": 32, "image_height": 24, "camera_matrix": [matrix[:3], matrix[3:6], matrix[6:]], "d": d}
    xml = cv2.FileStorage("x.xml", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    for name, value in (("image_width", 32), ("image_height", 24), ("camera_matrix", CAMERA.matrix)):
        xml.write(name, value)
    kalibr = "cam0:\n  camera_model: pinhole\n  distortion_model: radtan\n  distortion_coeffs: [0.1, 0, 0, 0]\n"
    kalibr += "  intrinsics: [30, 31, 15.5, 11.5]\n  resolution: [32, 24]\n"
    ini = "[image]\nwidth\n32\nheight\n24\n[cam]\ncamera matrix\n30 0 15.5\n0 31 11.5\n0 0 1\ndistortion\n0.1 0 0 0 0\n"
    realsense = {
        "width": 32,
        "height": 24,
        "fx": 30.0,
        "fy": 31.0,
        "ppx": 15.5,
        "ppy": 11.5,
        "coeffs": [0.1, 0, 0, 0, 0],
    }
    return [
        {"camera.yaml": driver},
        {"camera.yaml": echo.encode()},
        {"camera.yml": opencv.releaseAndGetString().encode()},
        {"camera.json": dump_json(bop)},
        {"camera.json": dump_json(plain)},
        {"camera.xml": xml.releaseAndGetString().encode()},
        {"camera.yaml": kalibr.encode()},
        {"camera.ini": ini.encode()},
        {"camera.json": dump_json(realsense)},
    ]


def _read_camera(folder: Path) -> None:
    (file,) = folder.iterdir()
    info = read_camera_info(file)
    read_each(lambda: use_camera(info.camera()), lambda: use_camera(info.camera(rectified=True)))


def _image_seeds() -> list[Files]:
    def saved(array: Any) -> bytes:
        stream = io.BytesIO()
        np.save(stream, array)
        return stream.getvalue()

    arrays = io.BytesIO()
    np.savez_compressed(
        arrays, images=np.zeros((2, 20, 20), np.uint8), labels=np.array([[9, 9, 1, 20, 30], [np.nan] * 5])
    )
    suffixes = (".png", ".jpg", ".bmp", ".tif", ".webp")
    seeds: list[Files] = [{f"image{suffix}": encoded(suffix, picture())} for suffix in suffixes]
    seeds += [
        {"image.png": encoded(".png", depth_picture())},
        {"image.tif": encoded(".tif", (depth_picture() / 1e3).astype(np.float32))},
    ]
    return [
        *seeds,
        {"image.npy": saved(depth_picture())},
        {"image.npy": saved(depth_picture() / 1e3)},
        {"image.npz": arrays.getvalue()},
    ]


def _read_image(folder: Path) -> None:
    (file,) = folder.iterdir()
    if file.suffix == ".npz":
        list(read_samples("oriented", file, pose_card()))
    elif file.suffix == ".npy":
        read_depth(file)
    else:
        read_each(lambda: read_image(file), lambda: read_depth(file))


def _mesh_seeds() -> list[Files]:
    box = trimesh.creation.box((40.0, 30.0, 20.0))
    colored = box.copy()
    colored.visual.vertex_colors = np.tile([200, 30, 30, 255], (len(box.vertices), 1))
    material = b"newmtl red\nKd 0.8 0.1 0.1\nNs 10\n"
    obj = "mtllib part.mtl\nusemtl red\n" + box.export(file_type="obj")
    plain = ("stl", "stl_ascii", "ply", "off", "glb")
    seeds: list[Files] = [{f"part.{kind[:3]}": _as_bytes(colored.export(file_type=kind))} for kind in plain]
    seeds.append(colored.export(file_type="gltf"))
    seeds.append({"part.ply": _as_bytes(colored.export(file_type="ply", encoding="ascii"))})
    return [*seeds, {"part.obj": obj.encode(), "part.mtl": material}, {"part.3mf": _packed_3mf(box)}]


def _packed_3mf(mesh: trimesh.Trimesh) -> bytes:
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in mesh.vertices)
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in mesh.faces)
    item = f'<object id="1"><mesh><vertices>{vertices}</vertices><triangles>{triangles}</triangles></mesh></object>'
    text = f'<model unit="millimeter"><resources>{item}</resources><build><item objectid="1"/></build></model>'
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:  # not deflated, so that changes reach the text
        archive.writestr("3D/3dmodel.model", text)
    return packed.getvalue()


def _as_bytes(exported: bytes | str) -> bytes:
    return exported.encode() if isinstance(exported, str) else exported


def _read_mesh(folder: Path) -> None:
    files = [file for file in folder.iterdir() if file.suffix not in (".mtl", ".bin")]
    for part in read_parts(files, "mm"):
        part.scene_object(Symmetry())


KINDS = {
    "camera": Kind(200, _camera_seeds, _read_camera),
    "image": Kind(100, _image_seeds, _read_image),
    "mesh": Kind(25, _mesh_seeds, _read_mesh),
}
