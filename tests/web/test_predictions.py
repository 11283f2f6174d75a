"""Images over HTTP: the results of the command line, and refusals of what is no image or too large a one."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zlib

import cv2
import jsonschema
import numpy as np
import pytest

from cube import T_CAMERA_CUBE, cube_frame, save_recording
from object_pose.cli.main import main
from object_pose.io.images import read_image, write_image
from object_pose.tasks.registry import TASKS


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return save_recording(tmp_path_factory.mktemp("recorded"), cube_frame())


@pytest.fixture
def files(recorded):
    return {
        "image": (recorded / "rgb" / "000000.png").read_bytes(),
        "depth": (recorded / "depth" / "000000.png").read_bytes(),
        "camera": (recorded / "camera.yaml").read_bytes(),
    }


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    """An image with edges and colours, that every task can read."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("photograph") / "photo.png"
    write_image(path, cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC))
    return path


def command_line(capsys, *arguments):
    assert main([str(argument) for argument in ("predict", *arguments, "--json")]) == 0
    record = json.loads(capsys.readouterr().out)
    return {key: value for key, value in record.items() if key not in ("name", "stamp_ns", "timings_ms")}


def result(answer):
    assert answer.status_code == 200, answer.text
    return {k: v for k, v in answer.json().items() if k not in ("model", "inference_ms", "size_wh", "camera_matrix")}


@pytest.mark.parametrize("task", [task for task in TASKS if task != "pose"])
def test_each_task_gives_what_the_command_line_gives(shipped, photograph, capsys, task):
    answer = shipped.client.post(f"/v1/predict/{task}", files={"image": photograph.read_bytes()})
    assert result(answer) == command_line(capsys, task, photograph)
    assert answer.json()["size_wh"] == [320, 240] and answer.json()["inference_ms"] > 0
    assert answer.json()["model"] == TASKS[task].default_model.removesuffix(".onnx")


def test_colour_depth_and_camera_become_poses_with_covariance(cube_server, recorded, files, capsys):
    answer = cube_server.client.post("/v1/predict/pose", files=files)
    model, image = cube_server.services.models.file("cube").path, recorded / "rgb" / "000000.png"
    depth, camera = recorded / "depth" / "000000.png", recorded / "camera.yaml"
    assert result(answer) == command_line(capsys, image, "--model", model, "--depth", depth, "--camera", camera)
    (pose,) = answer.json()["poses"]
    assert pose["depth_used"]
    np.testing.assert_allclose(pose["position"], T_CAMERA_CUBE[:3, 3], atol=1e-3)
    assert np.all(np.linalg.eigvalsh(pose["covariance"]) > 0)


def test_the_unit_of_depth_can_be_told(cube_server, files):
    tenths = cv2.imdecode(np.frombuffer(files["depth"], np.uint8), cv2.IMREAD_UNCHANGED) * 10
    files["depth"] = cv2.imencode(".png", tenths)[1].tobytes()
    answer = cube_server.client.post("/v1/predict/pose", files=files, data={"depth_scale": "0.1"})
    np.testing.assert_allclose(answer.json()["poses"][0]["position"], T_CAMERA_CUBE[:3, 3], atol=1e-3)


def test_requests_do_not_depend_on_each_other(cube_server, files):
    results = [result(cube_server.client.post("/v1/predict/pose", files=files)) for _ in range(3)]
    assert results[0] == results[1] == results[2]


def test_results_are_as_the_openapi_says(cube_server, files):
    document = cube_server.client.get("/v1/openapi.json").json()
    described = document["paths"]["/v1/predict/{task}"]["post"]["responses"]["200"]["content"]["application/json"]
    jsonschema.validate(cube_server.client.post("/v1/predict/pose", files=files).json(), described["schema"])


def test_the_annotated_picture(cube_server, files, recorded):
    answer = cube_server.client.post("/v1/predict/pose?annotated=true", files=files)
    assert answer.headers["content-type"] == "image/jpeg"
    picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    original = read_image(recorded / "rgb" / "000000.png")
    assert picture.shape == original.shape
    assert np.abs(picture[:, :, ::-1].astype(int) - original).max() > 50


def png_bomb(width, height):
    """Return a small PNG that declares, and compresses, many pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width * 3)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def npy_bomb():
    """Return a .npy file that declares a terabyte."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 18)})
    return stream.getvalue()


class _Harmful:
    def __reduce__(self):
        return (open, ("/tmp/object_pose_was_here", "w"))


def pickled_npy():
    stream = io.BytesIO()
    np.save(stream, np.array([[_Harmful()]], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("field", "content", "problem"),
    [
        ("image", b"", "image"),
        ("image", b"GIF89a no image", "image"),
        ("image", pickle.dumps({"an": "object"}), "image"),
        ("image", png_bomb(7000, 7000), "49000000|7000x7000"),
        ("image", cv2.imencode(".jpg", np.zeros((50, 60, 3), np.uint8))[1].tobytes(), "320x240"),
        ("depth", npy_bomb(), "depth"),
        ("depth", pickled_npy(), "depth"),
        ("depth", png_bomb(64, 64), "depth"),
        ("depth", b"v/1\x01" + b"\xff" * 60, "depth"),
        ("camera", b"\xff\xfe\x00", "camera"),
        ("camera", b"a: &a [1,1,1]\nb: [*a,*a]\n", "camera"),
        ("camera", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "camera"),
        ("camera", b"x" * (2 << 20), "camera"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(cube_server, files, field, content, problem):
    answer = cube_server.client.post("/v1/predict/pose", files=files | {field: content})
    assert answer.status_code == 400, answer.text
    assert any(word in answer.json()["error"]["message"] for word in problem.split("|"))


@pytest.mark.parametrize(("missing", "status", "word"), [("camera", 400, "camera"), ("image", 422, "image")])
def test_what_is_missing_is_named(cube_server, files, missing, status, word):
    del files[missing]
    answer = cube_server.client.post("/v1/predict/pose", files=files)
    assert answer.status_code == status and word in answer.json()["error"]["message"]


def test_tasks_and_their_models(cube_server):
    tasks = {task["name"]: task for task in cube_server.client.get("/v1/tasks").json()}
    assert set(tasks) == set(TASKS)
    assert tasks["pose"]["model"] == "cube" and tasks["pose"]["inputs"] == ["image", "depth", "camera"]
    assert tasks["detect"]["model"] is None


def test_a_task_without_a_model_says_so(cube_server, photograph):
    answer = cube_server.client.post("/v1/predict/detect", files={"image": photograph.read_bytes()})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "no_model"
    assert cube_server.client.post("/v1/predict/none", files={"image": b"0"}).status_code == 404


def test_metrics_count_what_was_predicted(cube_server, files):
    cube_server.client.post("/v1/predict/pose", files=files)
    text = cube_server.client.get("/metrics").text
    assert 'object_pose_requests_total{method="POST",route="/v1/predict/{task}",status="200"}' in text
    assert 'object_pose_inference_seconds_count{task="pose"}' in text
    assert "object_pose_queue_wait_seconds_count" in text
    assert f'sha256="{cube_server.services.models.active("pose").sha256}"' in text


def test_what_clients_make_up_is_no_label(cube_server, files):
    cube_server.client.request("MADEUP", "/v1/made-up")
    cube_server.client.post("/v1/predict/made-up", files=files)
    text = cube_server.client.get("/metrics").text
    assert "MADEUP" not in text and "made-up" not in text
