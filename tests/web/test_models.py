"""Models over HTTP: uploaded, checked, switched and deleted."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cube import cube_frame, save_cube_model, save_recording
from networks import save_constant_network, save_model
from object_pose.core.metrics.drift import DriftReference, describe_image
from object_pose.core.vision.decoders import Layout
from object_pose.mlops.monitor import MonitorConfig
from object_pose.mlops.registry import Registry
from object_pose.mlops.store import open_store
from object_pose.runtime.card import ModelCard
from tiles import save_mask_model, save_tiles


@pytest.fixture(scope="module")
def cube_file(tmp_path_factory):
    return save_cube_model(tmp_path_factory.mktemp("model") / "cube.onnx")


def upload(server, content, name=""):
    return server.client.post(
        "/v1/models", files={"model": ("cube.onnx", content)}, data={"name": name} if name else {}
    )


def detector(path, labels=("box",)):
    card = ModelCard("detect", Layout.YOLOV8_DETECT, labels, (64, 64), name=path.stem)
    return save_constant_network(np.zeros((1, 4 + len(labels), 84)), card.to_metadata(), (64, 64), path)


def test_the_shipped_models(shipped):
    models = {model["name"]: model for model in shipped.client.get("/v1/models").json()}
    assert {"parts", "workplace", "buildings", "oriented", "inspection"} <= set(models)
    parts = models["parts"]
    assert parts["task"] == "pose" and parts["active"] and parts["shipped"] and parts["gives_poses"]
    assert "gear" in parts["classes"] and len(parts["sha256"]) == 64
    assert shipped.client.get("/v1/models/parts").json() == parts
    assert shipped.client.delete("/v1/models/parts").status_code == 409
    assert shipped.client.get("/v1/models/none").status_code == 404


def test_the_parts_of_a_model_and_their_surfaces(shipped):
    parts = {part["class"]: part for part in shipped.client.get("/v1/models/parts/parts").json()}
    assert 0.05 < parts["gear"]["diameter_m"] < 0.1
    assert parts["gear"]["symmetries"]["axis"] and parts["bracket"]["symmetries"]["axis"] is None
    assert parts["gear"]["colour"].startswith("#")
    surface = shipped.client.get("/v1/models/parts/parts/gear.glb")
    assert surface.headers["content-type"] == "model/gltf-binary" and surface.content.startswith(b"glTF")
    assert shipped.client.get("/v1/models/parts/parts/none.glb").status_code == 404
    assert shipped.client.get("/v1/models/workplace/parts").json() == []


def test_a_part_without_a_mesh_shows_its_points(cube_server):
    assert cube_server.client.get("/v1/models/cube/parts/cube.glb").content.startswith(b"glTF")


def test_upload_switch_predict_delete(serve, cube_file, tmp_path):
    server = serve()
    switched = []
    server.services.models.listeners.append(lambda task, path: switched.append((task, path.name)))
    first = upload(server, cube_file.read_bytes(), "first")
    assert first.status_code == 201 and first.json()["classes"] == ["cube"] and not first.json()["active"]
    assert upload(server, cube_file.read_bytes(), "first").status_code == 409
    assert upload(server, cube_file.read_bytes()).json()["name"] == "cube"
    assert server.client.post("/v1/models/first/activate").json() == {"task": "pose", "model": "first"}
    folder = save_recording(tmp_path / "recorded", cube_frame())
    files = {
        "image": (folder / "rgb" / "000000.png").read_bytes(),
        "camera": (folder / "camera.yaml").read_bytes(),
    }
    assert server.client.post("/v1/predict/pose", files=files).json()["model"] == "first"
    assert server.client.delete("/v1/models/first").status_code == 409
    assert server.client.post("/v1/models/cube/activate").status_code == 200
    assert server.client.post("/v1/predict/pose", files=files).json()["model"] == "cube"
    assert server.client.delete("/v1/models/first").status_code == 204
    assert [model["name"] for model in server.client.get("/v1/models").json()] == ["cube"]
    assert switched == [("pose", "first.onnx"), ("pose", "cube.onnx")]
    again = serve()
    assert again.client.post("/v1/predict/pose", files=files).json()["model"] == "cube"


def test_a_switch_that_fails_leaves_what_was(serve, cube_file):
    server = serve()
    upload(server, cube_file.read_bytes(), "good")
    server.client.post("/v1/models/good/activate")
    (server.services.config.state / "models" / "bad.onnx").write_bytes(b"damaged")
    assert server.client.post("/v1/models/bad/activate").status_code == 400
    assert server.client.get("/v1/models/good").json()["active"]
    assert "bad.onnx" in server.client.get("/v1/models/bad").json()["problem"]


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "a" * 65, "a b", "é", "a\x00"])
def test_a_name_that_is_no_name_is_refused(serve, cube_file, name):
    server = serve()
    assert upload(server, cube_file.read_bytes(), name).status_code == 422
    assert not list((server.services.config.state / "models").glob("**/*.onnx"))


def external_model(path):
    tensor = numpy_helper.from_array(np.zeros((1, 5, 84), np.float32), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    card = ModelCard("detect", Layout.YOLOV8_DETECT, ("box",), (64, 64)).to_metadata()
    node = helper.make_node("Identity", ["weights"], ["detections"])
    graph = helper.make_graph(
        [node],
        "external",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 64, 64))],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, (1, 5, 84))],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, card)
    path.write_bytes(model.SerializeToString())
    return path


def bomb(path):
    """Return a small model that asks for 64 GB."""
    shape = numpy_helper.from_array(np.array([1 << 34], np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
        helper.make_node("Add", ["constant", "sum"], ["detections"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bomb",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 64, 64))],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, (1, 5, 84))],
        [shape, numpy_helper.from_array(np.zeros((1, 5, 84), np.float32), "constant")],
    )
    card = ModelCard("detect", Layout.YOLOV8_DETECT, ("box",), (64, 64))
    return save_model(graph, path, card.to_metadata())


def damaged_card(path):
    model = onnx.load(detector(path))
    model.metadata_props[0].value = "[" * 100_000
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 a zip of PyTorch"),
        lambda path: path.write_bytes(pickle.dumps({"state_dict": [1, 2, 3]})),
        external_model,
        bomb,
        damaged_card,
    ],
    ids=["empty", "zip", "pickle", "external", "memory", "card"],
)
def test_what_is_no_model_of_ours_is_refused_and_not_kept(serve, tmp_path, make):
    server = serve()
    make(tmp_path / "upload.onnx")
    answer = upload(server, (tmp_path / "upload.onnx").read_bytes(), "bad")
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "bad_model"
    assert server.client.get("/v1/models").json() == []
    assert [path.name for path in (server.services.config.state / "models").iterdir()] == []
    assert server.client.get("/healthz").status_code == 200


def test_rollback_goes_back_to_the_champion_before(serve, tmp_path):
    store = open_store(str(tmp_path / "store"))
    registry = Registry(store)
    server = serve(store=str(tmp_path / "store"))
    assert server.client.post("/v1/models/rollback").status_code == 409
    files = []
    for name in ("one", "two"):
        file = save_cube_model(tmp_path / f"{name}.onnx")  # the card holds the file's name
        files.append(file)
        registry.promote(registry.add("pose", file))
    upload(server, files[1].read_bytes(), "two")
    server.client.post("/v1/models/two/activate")
    assert server.client.post("/v1/models/rollback", json={"task": "detect"}).status_code == 409
    answer = server.client.post("/v1/models/rollback", json={"task": "pose"})
    assert answer.json() == {"task": "pose", "model": "pose-v1"}, answer.text
    assert registry.find("pose").version == 1
    assert server.client.get("/v1/models/pose-v1").json()["active"]
    assert server.client.post("/v1/models/rollback").status_code == 409


def test_images_unlike_those_of_the_reference_are_drift(serve, cube_file, tmp_path):
    models = tmp_path / "state" / "models"
    models.mkdir(parents=True)
    shutil.copy(cube_file, models / "cube.onnx")
    (models / "active.json").write_text('{"pose": "cube"}')
    seen = [describe_image(np.full((240, 320, 3), level, np.uint8)) for level in (225, 230, 235, 240)]
    reference = DriftReference.of([statistics for statistics, _ in seen], [descriptor for _, descriptor in seen])
    (models / "cube.reference.json").write_text(json.dumps(reference.to_json()))
    folder = save_recording(tmp_path / "recorded", cube_frame())
    files = {"image": (folder / "rgb" / "000000.png").read_bytes(), "camera": (folder / "camera.yaml").read_bytes()}
    server = serve()
    for _ in range(MonitorConfig().min_frames):
        assert server.client.post("/v1/predict/pose", files=files).status_code == 200
    assert 'object_pose_drift{model="cube",statistic="brightness"} 1.0' in server.client.get("/metrics").text


def tiles_server(serve, tmp_path):
    """Start a server that uses the mask model 'first' and has 'second', with 20 tiles to compare them on."""
    models = tmp_path / "state" / "models"
    models.mkdir(parents=True)
    for name in ("first", "second"):
        save_mask_model(models / f"{name}.onnx")
    append_property(models / "second.onnx")
    (models / "active.json").write_text('{"segment": "first"}')
    save_tiles(tmp_path / "sets" / "tiles", columns=10)
    return serve(datasets_folder=str(tmp_path / "sets"))


def append_property(file):
    """Make the file another one that says the same."""
    model = onnx.load(file)
    model.producer_name = "another"
    onnx.save(model, file)


@pytest.mark.timeout(400)  # a job imports everything that workflows need
def test_a_model_that_passes_the_gate_is_used_from_then_on(serve, tmp_path):
    server = tiles_server(serve, tmp_path)
    options = {"data": "dataset:tiles", "max_latency_ratio": 100.0}
    answer = server.client.post("/v1/models/second/promote", json=options, timeout=None)
    assert answer.status_code == 202, answer.text
    events = server.client.get(f"/v1/jobs/{answer.json()['id']}/events", timeout=None).text  # until it ends
    job = server.client.get(f"/v1/jobs/{answer.json()['id']}").json()
    assert job["state"] == "done" and job["result"]["passed"], (job, events)
    while not server.client.get("/v1/models/second").json()["active"]:
        pass
    assert Registry(open_store(server.services.config.store)).find("segment").version == 2
    assert server.client.post("/v1/models/second/promote").status_code == 409
    assert server.client.post("/v1/models/rollback").json() == {"task": "segment", "model": "first"}
