"""The live view over real HTTP: state, events, pictures, points, and what operators do; frames come from the test."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from cube import T_CAMERA_CUBE, make_cube
from live_pipeline import Pipeline, serving
from object_pose.core.frame import Frame
from object_pose.web.live.hub import LiveHub
from poses import pose_of

CUBE = pose_of(make_cube(), 0, T_CAMERA_CUBE, track_id=4, track_age=9)


@pytest.fixture
def pipeline(frame: Frame) -> Pipeline:
    return Pipeline(LiveHub(), frame)


@pytest.fixture
def client(tmp_path: Path, pipeline: Pipeline) -> Iterator[httpx.Client]:
    with serving(tmp_path, pipeline) as client:
        yield client


def events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Server-sent events as they come."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def pictures(response: httpx.Response) -> Iterator[tuple[dict[str, str], bytes]]:
    """The parts of an MJPEG stream: headers and JPEG."""
    boundary = response.headers["content-type"].partition("boundary=")[2]
    content, chunks = b"", response.iter_bytes()

    def read_until(count: int | None = None) -> bytes:
        nonlocal content
        while (end := content.find(b"\r\n\r\n") + 4 if count is None else count) < 4 or len(content) < end:
            content += next(chunks)
        taken, content = content[:end], content[end:]
        return taken

    while True:
        first, *lines = read_until().decode().split("\r\n")
        assert first == f"--{boundary}"
        headers = dict(line.split(": ") for line in lines if line)
        yield headers, read_until(int(headers["Content-Length"]) + 2)[:-2]


def test_without_a_pipeline_the_state_says_so_and_the_rest_is_not_found(tmp_path):
    with serving(tmp_path, None) as client:
        assert client.get("/v1/live").json()["available"] is False
        for path in ("events", "stream.mjpeg", "snapshot.jpg", "cloud"):
            assert client.get(f"/v1/live/{path}").json()["error"]["code"] == "no_pipeline"


def test_state_has_camera_poses_and_status(client, pipeline, frame):
    client.get("/v1/live")
    stamp = pipeline.publish(CUBE)
    state = client.get("/v1/live").json()
    assert state["available"] and not state["paused"]
    assert state["frame"]["stamp_ns"] == stamp
    assert state["frame"]["K"] == frame.camera.matrix.tolist() and state["frame"]["size_wh"] == list(frame.camera.wh)
    assert state["poses"][0]["state"] == "tracked" and len(state["poses"][0]["covariance"]) == 36
    assert state["status"]["dropped"] == 3 and state["status"]["latency_ms"]["p50"] == 12.5
    assert state["model"] is None and state["status"]["model"] is None
    pipeline.say_model("parts")
    state = client.get("/v1/live").json()
    assert state["model"] == state["status"]["model"] == "parts"


def test_events_bring_each_shown_frame_and_then_what_was_lost(client, pipeline):
    pose = replace(CUBE, track_age=1)
    with client.stream("GET", "/v1/live/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        coming = events(response)
        assert next(coming)[0] == "status"
        stamp = pipeline.publish(pose)
        name, data = next(item for item in coming if item[0] == "frame")
        assert data["stamp_ns"] == stamp
        assert [(item["id"], item["state"]) for item in data["poses"]] == [(4, "registered")]
        np.testing.assert_allclose(data["poses"][0]["position"], pose.T_camera_object[:3, 3], atol=1e-6)
        pipeline.publish()
        name, data = next(item for item in coming if item[0] == "frame")
        assert [(item["id"], item["state"]) for item in data["poses"]] == [(4, "lost")]
        assert name == "frame"


def test_pictures_have_stamps_and_the_width_that_was_asked_for(client, pipeline):
    with pipeline.running(), client.stream("GET", "/v1/live/stream.mjpeg", params={"width": 150}) as response:
        parts = list(itertools.islice(pictures(response), 3))
    stamps = [int(headers["X-Stamp-Ns"]) for headers, _ in parts]
    assert stamps == sorted(set(stamps))
    shapes = {cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape for _, jpeg in parts}
    assert {width for _, width, _ in shapes} == {160}


def test_snapshot_plain_and_annotated(client, pipeline, frame):
    client.get("/v1/live")
    stamp = pipeline.publish(CUBE)
    plain, drawn = (client.get("/v1/live/snapshot.jpg", params={"annotated": flag}) for flag in (False, True))
    assert plain.headers["x-stamp-ns"] == drawn.headers["x-stamp-ns"] == stamp
    pixels = [cv2.imdecode(np.frombuffer(item.content, np.uint8), cv2.IMREAD_COLOR) for item in (plain, drawn)]
    assert pixels[0].shape == frame.rgb.shape
    assert np.abs(pixels[0][:, :, ::-1].astype(int) - frame.rgb).mean() < 6
    assert np.abs(pixels[0].astype(int) - pixels[1]).max() > 60


def test_cloud_is_the_depth_image_in_the_cameras_frame(client, pipeline, frame):
    client.get("/v1/live")
    pipeline.publish()
    content = client.get("/v1/live/cloud", params={"points": 5000}).content
    (count,) = struct.unpack_from("<I", content)
    assert 0 < count <= 5000 and len(content) == 4 + count * 15
    xyz = np.frombuffer(content, "<f4", count * 3, 4).reshape(-1, 3)
    pixels = np.rint(frame.camera.project(xyz.astype(float))).astype(int)
    np.testing.assert_allclose(frame.depth_m[pixels[:, 1], pixels[:, 0]], xyz[:, 2], atol=1e-6)
    colours = np.frombuffer(content, np.uint8, count * 3, 4 + count * 12).reshape(-1, 3)
    np.testing.assert_array_equal(frame.rgb[pixels[:, 1], pixels[:, 0]], colours)


def test_a_frame_is_asked_of_the_pipeline_only_while_somebody_watches(client, pipeline):
    assert not pipeline.hub.is_watched
    with pipeline.running():
        assert client.get("/v1/live/snapshot.jpg").status_code == 200
    assert pipeline.hub.is_watched


def test_paused_the_frame_stays_and_a_step_shows_one_more(client, pipeline):
    client.get("/v1/live")
    first = pipeline.publish()
    assert client.post("/v1/live/step").status_code == 409
    assert client.post("/v1/live/pause").json() == {"paused": True}
    pipeline.publish()
    assert client.get("/v1/live").json()["frame"]["stamp_ns"] == first
    client.post("/v1/live/step")
    second = pipeline.publish()
    pipeline.publish()
    state = client.get("/v1/live").json()
    assert state["paused"] and state["frame"]["stamp_ns"] == second
    client.post("/v1/live/resume")
    third = pipeline.publish()
    assert client.get("/v1/live").json()["frame"]["stamp_ns"] == third
    assert pipeline.calls == ["pause", "step", "resume"]


def test_one_recording_at_a_time_under_a_harmless_name(client, pipeline, tmp_path):
    def ask(action, name=None):
        return client.post("/v1/live/recording", json={"action": action, "name": name})

    assert ask("stop").status_code == 409
    assert ask("start", "../../etc").status_code == 400
    assert ask("start", "shift-1").json() == {"name": "shift-1", "recording": True}
    assert pipeline.recording == tmp_path / "recordings" / "shift-1"
    assert client.get("/v1/live").json()["recording"] == "shift-1"
    assert ask("start", "shift-2").status_code == 409
    assert ask("stop").json() == {"name": "shift-1", "recording": False}


def test_streams_above_the_limit_are_refused(tmp_path, pipeline):
    with serving(tmp_path, pipeline, most_clients=1) as client, client.stream("GET", "/v1/live/events") as response:
        coming = events(response)  # kept: what is forgotten is closed
        assert next(coming)[0] == "status"
        refused = client.get("/v1/live/events")
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "too_many_streams"
        assert int(refused.headers["retry-after"]) > 0


def test_who_reads_nothing_is_dropped_and_the_others_get_the_newest(tmp_path, pipeline):
    with serving(tmp_path, pipeline, write_timeout_s=0.5, most_clients=2, picture_rate_hz=60.0) as client:
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before the window is agreed on
        deaf.connect((client.base_url.host, client.base_url.port))
        deaf.sendall(b"GET /v1/live/stream.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pipeline.running(), client.stream("GET", "/v1/live/stream.mjpeg") as response:
            coming = pictures(response)
            next(coming)
            while not is_refused(client, "/v1/live/events"):
                next(coming)
            while is_refused(client, "/v1/live/events"):  # until the place of the one that is dropped is free
                next(coming)
        deaf.close()


def test_streams_end_whole_when_the_server_ends(tmp_path, pipeline):
    began, ended = threading.Event(), []

    def watch(url):
        with httpx.stream("GET", url.join("/v1/live/events"), timeout=60.0) as response:
            for _ in response.iter_lines():
                began.set()
        ended.append(True)  # httpx raises where an answer is cut off

    with serving(tmp_path, pipeline) as client:
        thread = threading.Thread(target=watch, args=(client.base_url,))
        thread.start()
        assert began.wait(60.0)
    thread.join()
    assert ended == [True]


def is_refused(client, path):
    with client.stream("GET", path) as response:
        return response.status_code == 503
