"""The kinds of input that ``fuzz`` tries: sound examples of each, how they are spoilt, and what reads them."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx
import trimesh
from onnx import TensorProto, helper, numpy_helper

from benchmarks.fuzz_mutation import Files, dump_json, mutated, mutated_bytes, mutated_content
from object_pose.core.errors import ObjectPoseError
from object_pose.core.frame import Frame
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.distortion import MODEL_COEFFICIENTS
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.object_model import ObjectModel
from object_pose.core.vision.decoders import Layout
from object_pose.evaluation.samples import read_samples
from object_pose.io.bag_frames import RecordingConfig, read_bag_frames, write_frame
from object_pose.io.bags import describe_bag, make_typestore, read_bag, write_bag
from object_pose.io.bop import read_bop_scene, read_models_info
from object_pose.io.camera_info import info_from_message, read_camera_info, write_camera
from object_pose.io.datasets.bop_checks import bop_scenes, check_bop
from object_pose.io.datasets.opening import find_layout, open_dataset
from object_pose.io.images import read_depth, read_image
from object_pose.io.messages import depth_from_message, image_from_message
from object_pose.runtime.card import METADATA_KEY, ModelCard
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.resources import find
from object_pose.simulation.parts.cad import read_parts
from object_pose.tasks.registry import task_of_card
from object_pose.workflows.recipe import check_recipe, read_recipe

_CAMERA = Camera(32, 24, 30.0, 31.0, 15.5, 11.5)
_STAMP_NS = 1_700_000_000_000_000_000
_SIDE = 32  # of the small networks' input
_BYTES_KEY = "base64"


@dataclass(frozen=True)
class Kind:
    """One kind of input: its ``share`` of 1000 inputs, sound examples, how one is spoilt, and what reads its folder."""

    share: int
    seeds: Callable[[], list[Files]]
    read: Callable[[Path], None]
    make: Callable[[random.Random, Sequence[Files]], Files] = mutated


def _read_each(*readers: Callable[[], object]) -> None:
    """Call every reader; raise the last refusal where all refuse."""
    refusals = []
    for reader in readers:
        try:
            reader()
        except ObjectPoseError as error:
            refusals.append(error)
    if len(refusals) == len(readers):
        raise refusals[-1]


def _picture() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)


def _depth() -> np.ndarray[Any, Any]:
    return np.full((24, 32), 500, np.uint16)


def _encoded(suffix: str, pixels: Any) -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1])


# Messages: JSON of their fields, with bytes as base64.


def _message(rng: random.Random, seeds: Sequence[Files]) -> Files:
    fields = json.loads(rng.choice(seeds)["message.json"])
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(sorted(fields))
        fields[name] = _spoilt_field(rng, fields[name])
    if "encoding" in fields and rng.random() < 0.5:
        fields["encoding"] = rng.choice(_ENCODINGS)
    return {"message.json": dump_json(fields)}


_ENCODINGS = (
    "rgb8", "bgra16", "mono8", "mono16", "8UC3", "16UC1", "32FC1", "yuv422", "yuv422_yuy2", "nv12", "nv21",
    "bayer_rggb8", "bayer_gbrg16", "64FC3", "", "rgb8; jpeg compressed bgr8",
)  # fmt: skip
_FORMATS = (
    "jpeg", "png", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png", "16UC1; compressedDepth rvl",
    "32FC1; compressedDepth png", "32FC1; compressedDepth rvl", "; compressedDepth", "", "16UC1;",
)  # fmt: skip
_UNSIGNED = (0, 1, 2, 3, 7, 24, 31, 65535, 65536, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e308, -1e308, 1e19, float("nan"), float("inf"), float("-inf"), 30.0)


def _spoilt_field(rng: random.Random, value: Any) -> Any:
    """Return another value of the same type, as the type of a ROS message's field allows it."""
    if isinstance(value, dict) and _BYTES_KEY in value:
        content = mutated_bytes(rng, base64.b64decode(value[_BYTES_KEY]))
        return {_BYTES_KEY: base64.b64encode(content).decode()}
    if isinstance(value, dict):
        return value | {rng.choice(sorted(value)): rng.choice(_UNSIGNED)}
    if isinstance(value, str):
        return rng.choice((*_FORMATS, *MODEL_COEFFICIENTS, "fisheye", "x" * 3000, "\0", "²"))
    if isinstance(value, list):
        numbers = [rng.choice(_FLOATS) if rng.random() < 0.3 else number for number in value]
        return numbers if len(value) in (9, 12) else [*numbers, *rng.choices(_FLOATS, k=rng.randint(0, 9))]
    return rng.choice(_UNSIGNED)


def _message_seeds() -> list[Files]:
    def packed(content: bytes) -> dict[str, str]:
        return {_BYTES_KEY: base64.b64encode(content).decode()}

    size = {"width": 32, "height": 24, "is_bigendian": 0}
    rvl = struct.pack("<iffiiII", 0, 100.0, 0.1, 4, 2, 0x08122222, 0x22200000)
    raw = [("rgb8", 3, _picture()), ("16UC1", 2, _depth()), ("32FC1", 4, _depth().astype(np.float32))]
    messages: list[dict[str, Any]] = [
        {**size, "encoding": encoding, "step": 32 * width, "data": packed(pixels.tobytes())}
        for encoding, width, pixels in raw
    ]
    messages += [
        {"format": "jpeg", "data": packed(_encoded(".jpg", _picture()))},
        {"format": "png", "data": packed(_encoded(".png", _depth()))},
        {"format": "16UC1; compressedDepth png", "data": packed(b"\0" * 12 + _encoded(".png", _depth()))},
        {"format": "32FC1; compressedDepth rvl", "data": packed(rvl)},
    ]
    for model, coefficients in (("plumb_bob", 5), ("equidistant", 4), ("rational_polynomial", 8)):
        info: dict[str, Any] = {"width": 32, "height": 24, "binning_x": 0, "binning_y": 0, "distortion_model": model}
        info |= {"d": [0.01] * coefficients, "k": _CAMERA.matrix.ravel().tolist(), "r": np.eye(3).ravel().tolist()}
        info |= {"p": np.hstack([_CAMERA.matrix, np.zeros((3, 1))]).ravel().tolist()}
        messages.append(info | {"roi": dict.fromkeys(("x_offset", "y_offset", "height", "width"), 0)})
    return [{"message.json": dump_json(message)} for message in messages]


def _read_message(folder: Path) -> None:
    fields = json.loads((folder / "message.json").read_bytes())
    if "k" in fields:
        message = SimpleNamespace(**{name: _field(value) for name, value in fields.items()})
        info = info_from_message(message)
        _read_each(lambda: _use(info.camera()), lambda: _use(info.camera(rectified=True)))
        return
    message = SimpleNamespace(**fields | {"data": base64.b64decode(fields["data"][_BYTES_KEY])})
    _read_each(lambda: image_from_message(message), lambda: depth_from_message(message))


def _field(value: Any) -> Any:
    return SimpleNamespace(**value) if isinstance(value, dict) else value


def _use(camera: Camera) -> None:
    camera.backproject(camera.project(np.array([[0.1, -0.1, 1.0], [3.0, 2.0, 0.5]])), np.ones(2))


# Files of cameras, images and meshes.


def _camera_seeds() -> list[Files]:
    matrix, d = _CAMERA.matrix.ravel().tolist(), [0.1, -0.2, 0.0, 0.001, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        write_camera(Path(folder) / "camera.yaml", _CAMERA)
        driver = (Path(folder) / "camera.yaml").read_bytes()
    echo = f"header:\n  frame_id: cam\nheight: 24\nwidth: 32\ndistortion_model: plumb_bob\nd: {d}\nk: {matrix}\n"
    echo += "r: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nbinning_x: 0\n"
    echo += "roi:\n  x_offset: 0\n  y_offset: 0\n  height: 0\n  width: 0\n---\n"
    opencv = cv2.FileStorage("x.yml", cv2.FileStorage_WRITE | cv2.FileStorage_MEMORY)
    for name, value in (("image_width", 32), ("image_height", 24), ("camera_matrix", _CAMERA.matrix)):
        opencv.write(name, value)
    opencv.write("distortion_coefficients", np.array([d]))
    bop = {"fx": 30.0, "fy": 31.0, "cx": 15.5, "cy": 11.5, "width": 32, "height": 24, "depth_scale": 0.1}
    plain = {"image_width": 32, "image_height": 24, "camera_matrix": [matrix[:3], matrix[3:6], matrix[6:]], "d": d}
    return [
        {"camera.yaml": driver},
        {"camera.yaml": echo.encode()},
        {"camera.yml": opencv.releaseAndGetString().encode()},
        {"camera.json": dump_json(bop)},
        {"camera.json": dump_json(plain)},
    ]


def _read_camera(folder: Path) -> None:
    (file,) = folder.iterdir()
    info = read_camera_info(file)
    _read_each(lambda: _use(info.camera()), lambda: _use(info.camera(rectified=True)))


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
    seeds: list[Files] = [{f"image{suffix}": _encoded(suffix, _picture())} for suffix in suffixes]
    seeds += [{"image.png": _encoded(".png", _depth())}, {"image.tif": _encoded(".tif", _depth().astype(np.float32))}]
    return [
        *seeds,
        {"image.npy": saved(_depth())},
        {"image.npy": saved(_depth() / 1e3)},
        {"image.npz": arrays.getvalue()},
    ]


def _read_image(folder: Path) -> None:
    (file,) = folder.iterdir()
    if file.suffix == ".npz":
        list(read_samples("oriented", file, _pose_card()))
    elif file.suffix == ".npy":
        read_depth(file)
    else:
        _read_each(lambda: read_image(file), lambda: read_depth(file))


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
    return [*seeds, {"part.obj": obj.encode(), "part.mtl": material}]


def _as_bytes(exported: bytes | str) -> bytes:
    return exported.encode() if isinstance(exported, str) else exported


def _read_mesh(folder: Path) -> None:
    files = [file for file in folder.iterdir() if file.suffix not in (".mtl", ".bin")]
    for part in read_parts(files, "mm"):
        part.scene_object(Symmetry())


# Recipes and data sets.


def _recipe_seeds() -> list[Files]:
    rendered = ("inspection", "oriented", "parts")  # others need data that may not be there
    return [{"recipe.yaml": find("models", f"recipes/{name}.yaml").read_bytes()} for name in rendered]


def _read_recipe(folder: Path) -> None:
    check_recipe(read_recipe(folder / "recipe.yaml"), folder / "out")


def _label_seeds() -> list[Files]:
    image, depth = _encoded(".png", _picture()), _encoded(".png", _depth())
    yolo = {"images/a.png": image, "images/b.jpg": _encoded(".jpg", _picture()), "labels/a.txt": b"0 0.5 0.5 0.2 0.2\n"}
    names = b"names:\n  0: cat\n  1: dog\n"
    keypoints = b"1 0.5 0.5 0.4 0.4 0.4 0.4 2 0.6 0.6 1\n0 0.1 0.1 0.2 0.1 0.3 0.2 1 0.1 0.1 0\n"
    polygon = b"0 0.1 0.1 0.9 0.1 0.9 0.9\n1 0.5 0.5 0.2 0.2 0.97 12\n"
    box = {"image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 9], "area": 90, "iscrowd": 0}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 32, "height": 24}],
        "annotations": [{"id": 1, **box}, {"id": 2, **box, "segmentation": [[1, 1, 9, 1, 9, 9]]}],
        "categories": [{"id": 1, "name": "cat", "supercategory": "none"}, {"id": 7, "name": "dog"}],
    }
    truth = {"cam_R_m2c": np.eye(3).ravel().tolist(), "cam_t_m2c": [10.0, 5.0, 500.0], "obj_id": 1}
    info = {"bbox_visib": [5, 5, 9, 9], "bbox_obj": [5, 5, 9, 9], "visib_fract": 0.8, "px_count_all": 81}
    camera = {"cam_K": _CAMERA.matrix.ravel().tolist(), "depth_scale": 1.0}
    model = {"diameter": 60.0} | {f"{name}_{axis}": 20.0 for name in ("min", "size") for axis in "xyz"}
    symmetries = {"symmetries_discrete": [np.diag([-1, -1, 1, 1]).ravel().tolist()]}
    turned = {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]}
    bop = {
        "train/000000/rgb/000000.png": image,
        "train/000000/depth/000000.png": depth,
        "train/000000/scene_camera.json": dump_json({"0": camera}),
        "train/000000/scene_gt.json": dump_json({"0": [truth, truth]}),
        "train/000000/scene_gt_info.json": dump_json({"0": [info, info]}),
        "models/models_info.json": dump_json({"1": model | symmetries, "2": model | turned}),
    }
    return [
        {**yolo, "data.yaml": names},
        {**yolo, "labels/a.txt": keypoints, "data.yaml": names + b"kpt_shape: [2, 3]\npath: .\ntrain: images\n"},
        {**yolo, "labels/b.txt": polygon, "classes.txt": b"cat\ndog\n"},
        {"a.png": image, "annotations.json": dump_json(coco)},
        bop,
    ]


def _spoilt_labels(rng: random.Random, seeds: Sequence[Files]) -> Files:
    """Change mostly what is not a picture."""
    files = rng.choice(seeds)
    if rng.random() < 0.1:
        return mutated(rng, [files])
    texts = {name: content for name, content in files.items() if not name.endswith((".png", ".jpg"))}
    pictures = {name: content for name, content in files.items() if name not in texts}
    return {**pictures, **mutated(rng, [texts])}


def _read_labels(folder: Path) -> None:
    _read_each(lambda: _read_dataset(folder), lambda: read_models_info(folder / "models/models_info.json"))


def _read_dataset(folder: Path) -> None:
    if find_layout(folder).kind != "bop":
        open_dataset(folder, thorough=True)
        return
    scene = bop_scenes(folder)[0]
    _read_each(lambda: check_bop(folder, thorough=True), lambda: list(read_bop_scene(scene, {1: "part"})))


# Recordings.


def _bag_seeds() -> list[Files]:
    from rosbags.rosbag1 import Writer as Ros1Writer
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = make_typestore()
    frames = [Frame(_picture(), _CAMERA, np.full((24, 32), 0.5, np.float32), _STAMP_NS + step) for step in (0, 10**8)]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        with write_bag(folder / "bag", store) as bag:
            for frame in frames:
                write_frame(bag, frame)
        with write_bag(folder / "text", store) as bag:
            for index, word in enumerate("abc"):
                bag.write("/text", "std_msgs/msg/String", index, store.types["std_msgs/msg/String"](word))
        messages = list(read_bag(folder / "bag"))
        with Writer(folder / "sqlite", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
            topics = {topic: message.__msgtype__ for topic, _, message in messages}
            channels = {topic: writer.add_connection(topic, name, typestore=store) for topic, name in topics.items()}
            for topic, stamp, message in messages:
                writer.write(channels[topic], stamp, store.serialize_cdr(message, topics[topic]))
        ros1 = get_typestore(Stores.ROS1_NOETIC)
        for compression in (None, Ros1Writer.CompressionFormat.LZ4):
            with _ros1_writer(folder / f"{compression}.bag", compression) as old:
                channel = old.add_connection("/text", "std_msgs/msg/String", typestore=ros1)
                message = ros1.types["std_msgs/msg/String"]("abc")
                old.write(channel, _STAMP_NS, ros1.serialize_ros1(message, message.__msgtype__))
        seeds: list[Files] = [{"bag.bag": file.read_bytes()} for file in sorted(folder.glob("*.bag"))]
        for name in ("bag", "text", "sqlite"):
            files = {f"bag/{file.name}": file.read_bytes() for file in sorted((folder / name).iterdir())}
            seeds += [files, {Path(key).name: content for key, content in files.items() if not key.endswith(".yaml")}]
    return seeds


def _ros1_writer(path: Path, compression: Any) -> Any:
    from rosbags.rosbag1 import Writer

    writer = Writer(path)
    if compression:
        writer.set_compression(compression)
    return writer


def _read_bag(folder: Path) -> None:
    (path,) = folder.iterdir()
    _read_each(
        lambda: describe_bag(path),
        lambda: list(read_bag(path)),
        lambda: list(read_bag_frames(path, RecordingConfig(tolerance_ms=1.0))),
    )


# Models and their cards.


def _pose_card() -> ModelCard:
    corners = np.array([[x, y, z] for x in (-0.1, 0.1) for y in (-0.1, 0.1) for z in (-0.1, 0.1)])
    symmetry = Symmetry(np.diag([-1.0, -1.0, 1.0, 1.0])[None], np.array([0.0, 0.0, 1.0]))
    part = ObjectModel(
        "cube", corners, corners, corners / 0.1732, np.zeros(3), np.full(3, 0.2), 0.35, symmetry, corners
    )
    layout = Layout.OBJECT_POSE_KEYPOINTS
    return ModelCard("pose", layout, ("cube",), (_SIDE, _SIDE), keypoint_count=8, objects=(part,), name="cube")


def _card_seeds() -> list[Files]:
    cards = [_pose_card(), ModelCard("detect", Layout.YOLOV8_DETECT, ("cat", "dog"), (_SIDE, _SIDE))]
    return [{"card.json": card.to_metadata()[METADATA_KEY].encode()} for card in cards]


def _read_card(folder: Path) -> None:
    text = (folder / "card.json").read_text(errors="replace")
    card = ModelCard.from_metadata({METADATA_KEY: text})
    task_of_card(card.task, card.layout)
    card.to_metadata()


def _network(
    output: np.ndarray[Any, Any], metadata: dict[str, str], shape: tuple[Any, ...] = (1, 3, _SIDE, _SIDE)
) -> Files:
    """Return a network that gives one output, whatever it sees."""
    tensor = numpy_helper.from_array(output.astype(np.float32))
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=tensor)],
        "constant",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, output.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    return {"model.onnx": model.SerializeToString()}


def _model_seeds() -> list[Files]:
    card, names = _pose_card(), "{0: 'cat', 1: 'dog'}"
    candidate = np.concatenate([[16, 16, 9, 9, 0.9], np.tile([16.0, 16.0, 0.5], 8)])[None, :, None]
    keypoints = {"names": names, "task": "pose", "kpt_shape": "[2, 3]", "imgsz": "[32, 32]", "stride": "32"}
    detect = {"names": names, "task": "detect", "imgsz": "[32, 32]"}
    rows = np.full((1, 20, 6), 0.5)
    return [
        _network(candidate, card.to_metadata()),
        _network(np.full((1, 12, 21), 0.6), keypoints),
        _network(np.full((1, 6, 21), 0.6), detect, (1, 3, "height", "width")),
        _network(rows, {"names": '["cat", "dog"]'}),
    ]


def _spoilt_model(rng: random.Random, seeds: Sequence[Files]) -> Files:
    """Change the bytes of a model, or its metadata."""
    content = rng.choice(seeds)["model.onnx"]
    model = onnx.load_from_string(content)
    if not model.metadata_props or rng.random() < 0.4:
        return {"model.onnx": mutated_bytes(rng, content)}
    item = rng.choice(model.metadata_props)
    item.value = mutated_content(rng, item.value.encode()).decode(errors="replace")
    return {"model.onnx": model.SerializeToString()}


def _read_model(folder: Path) -> None:
    predictor = Predictor(folder / "model.onnx", PredictorConfig(device="cpu", threads=1))
    predictor.predict(_picture())


KINDS: dict[str, Kind] = {
    "message": Kind(300, _message_seeds, _read_message, _message),
    "camera": Kind(200, _camera_seeds, _read_camera),
    "card": Kind(200, _card_seeds, _read_card),
    "labels": Kind(140, _label_seeds, _read_labels, _spoilt_labels),
    "recipe": Kind(20, _recipe_seeds, _read_recipe),
    "image": Kind(100, _image_seeds, _read_image),
    "mesh": Kind(25, _mesh_seeds, _read_mesh),
    "model": Kind(20, _model_seeds, _read_model, _spoilt_model),
    "bag": Kind(15, _bag_seeds, _read_bag),
}
