"""The predictor's process: what it answers, and what becomes of requests and of it when one of the two ends."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import pytest

from cube import cube_frame, save_cube_model
from object_pose.core.errors import CalibrationError, DataError, ModelError
from object_pose.web.errors import HttpError
from object_pose.web.predictor.process import PredictorProcess

LIMIT_S = 60.0
HEAD = {"files": ["image"], "depth_scale": None, "annotated": False, "most_pixels": 1_000_000}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_cube_model(tmp_path_factory.mktemp("model") / "cube.onnx")


@pytest.fixture(scope="module")
def png():
    return cv2.imencode(".png", cube_frame().rgb[:, :, ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def camera():
    K = cube_frame().camera
    return json.dumps({"width": K.width, "height": K.height, "fx": K.fx, "fy": K.fy, "cx": K.cx, "cy": K.cy}).encode()


@pytest.fixture
def starts():
    return []


@pytest.fixture
def make(starts):
    made = []

    def start(limit_s=LIMIT_S, places=1):
        made.append(PredictorProcess(places, 0, 4096, limit_s, lambda: starts.append(True)))
        return made[-1]

    yield start
    for process in made:
        process.close()


def ends(pid):
    deadline = time.monotonic() + LIMIT_S
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return True


def stop(pid):
    """Stop a process, and wait until it is."""
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)


def test_it_opens_models_predicts_and_tells_what_is_wrong_with_an_input(make, starts, model, png, camera, tmp_path):
    process = make()
    assert process.pid is None and process.memory_bytes() == 0.0
    opened = process.open(model)
    assert opened["task"] == "pose" and opened["name"] == "cube" and len(opened["sha256"]) == 64
    answer = process.ask("predict", model, HEAD | {"files": ["image", "camera"]}, [png, camera])
    assert len(json.loads(answer.blobs[0])["poses"]) == 1
    with pytest.raises(DataError, match="image"):
        process.ask("predict", model, HEAD, [b"no image"])
    with pytest.raises(CalibrationError, match="camera"):
        process.ask("predict", model, HEAD, [png])
    with pytest.raises(ModelError):
        process.open(tmp_path / "missing.onnx")
    assert process.memory_bytes() > 1e7 and len(starts) == 1
    assert resource.prlimit(process.pid, resource.RLIMIT_DATA)[0] == 4096 << 20


def test_when_it_ends_the_request_is_told_to_come_again_and_the_next_one_is_answered(make, starts, model, png, camera):
    process = make()
    process.open(model)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(HttpError) as lost:
        process.ask("predict", model, HEAD, [png])
    assert lost.value.status_code == 503 and int(lost.value.headers["Retry-After"]) >= 1
    answer = process.ask("predict", model, HEAD | {"files": ["image", "camera"]}, [png, camera])
    assert len(json.loads(answer.blobs[0])["poses"]) == 1 and len(starts) == 2


def test_one_that_does_not_answer_is_replaced(make, starts, model, png):
    process = make(limit_s=1.0)
    process.open(model)
    first = process.pid
    stop(first)
    with pytest.raises(HttpError) as late:
        process.ask("predict", model, HEAD, [png])
    assert (late.value.status_code, late.value.code) == (503, "deadline")
    assert ends(first) and process.pid not in (None, first) and len(starts) == 2


def test_closing_ends_it_with_what_it_is_at(make, model, png):
    process, outcomes = make(), []
    process.open(model)
    pid = process.pid
    stop(pid)

    def ask():
        with pytest.raises(HttpError) as ended:
            process.ask("predict", model, HEAD, [png])
        outcomes.append(ended.value.status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    process.close()
    thread.join()
    assert outcomes == [503] and ends(pid)
    with pytest.raises(HttpError):
        process.open(model)


def test_it_ends_with_a_server_that_is_killed(model):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from object_pose.web.predictor.process import PredictorProcess\n"
        "process = PredictorProcess(1, 0, 4096, 60.0, lambda: None)\n"
        "process.open(Path(sys.argv[1]))\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", program, str(model)], stdout=subprocess.PIPE, text=True)
    pid = int(server.stdout.readline())
    server.kill()
    server.communicate()
    assert ends(pid)
