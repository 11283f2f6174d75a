"""Calibration sessions over real HTTP: images of a board that are sent or live, and the job that calibrates."""

from __future__ import annotations

import threading
from dataclasses import replace

import httpx
import numpy as np
import pytest

from object_pose.calibration.boards import parse_board
from object_pose.calibration.simulated import board_picture
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.io.images import decode_rgb, encode_image
from object_pose.runtime.live import LiveFrame
from object_pose.web.config import JobsConfig, WebConfig
from object_pose.web.live.hub import LiveHub
from object_pose.web.live.view import LiveView
from object_pose.web.server import WebServer
from object_pose.web.services import open_services

BOARD = "chessboard:7x5:0.03"
CAMERA = Camera(640, 480, 600.0, 600.0, 319.5, 239.5)


def picture(seed):
    """The board in front of the camera, tilted another way each time."""
    generator = np.random.default_rng(seed)
    rotation = se3.exp_so3(generator.uniform(-0.4, 0.4, 3))
    centre = rotation @ np.array([0.09, 0.06, 0.0])
    T = se3.make_transform(rotation, np.array([*generator.uniform(-0.06, 0.06, 2), 0.5]) - centre)
    return np.repeat(board_picture(parse_board(BOARD), CAMERA, T, seed=seed)[..., None], 3, axis=-1)


class NoControl:
    recording = None


@pytest.fixture
def hub():
    return LiveHub()


@pytest.fixture
def client(tmp_path, hub):
    services = open_services(
        WebConfig(port=0, state_folder=str(tmp_path / "state"), shipped_models=False, jobs=JobsConfig(nice=0))
    )
    services.live = LiveView(hub, NoControl(), tmp_path / "recordings")
    server = WebServer(services)
    thread = threading.Thread(target=server.run)
    thread.start()
    with httpx.Client(base_url=server.url, timeout=60.0) as client:
        yield client
    server.stop()
    thread.join()


def begin(client, **options):
    return client.post("/v1/calibration/session", json={"board": BOARD, **options}).json()


def capture(client, session, rgb=None, robot_pose="", keep=True):
    files = {} if rgb is None else {"image": ("image.png", encode_image(rgb, ".png"))}
    address = f"/v1/calibration/session/{session['id']}/capture"
    return client.post(address, params={"keep": keep}, files=files or None, data={"robot_pose": robot_pose})


def test_images_are_looked_at_kept_and_dropped(client):
    session = begin(client)
    seen = capture(client, session, picture(0), keep=False).json()
    assert seen["found"] and seen["kept_as"] is None and len(seen["corners"]) == 35
    kept = capture(client, session, picture(0)).json()
    assert kept["images"] == 1 and kept["coverage"]["missing"]
    empty = capture(client, session, np.full((480, 640, 3), 90, np.uint8)).json()
    assert not empty["found"] and empty["images"] == 1
    address = f"/v1/calibration/session/{session['id']}"
    assert client.get(address).json()["names"] == [kept["kept_as"]]
    assert client.delete(f"{address}/images/{kept['kept_as']}").status_code == 204
    assert client.post(f"{address}/solve").status_code == 409
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404


def test_the_live_view_is_looked_at(client, hub):
    session = begin(client)
    hub.want()
    address = f"/v1/calibration/session/{session['id']}/picture.jpg"
    assert client.get(address).status_code == 404
    lens = replace(CAMERA, distortion=(0.2, -0.1, 0.0, 0.0, 0.0), distortion_model="plumb_bob")
    hub.publish(LiveFrame(Frame(picture(1), lens, stamp_ns=1), "camera"))
    assert capture(client, session).json()["found"]
    # The corners are pixels of the camera's own picture, not of the undistorted one that the live view shows.
    shown, live = (decode_rgb(client.get(at).content, at) for at in (address, "/v1/live/snapshot.jpg"))
    assert np.abs(shown.astype(int) - picture(1)).mean() < 5
    assert np.abs(live.astype(int) - picture(1)).mean() > 5


def test_hand_eye_needs_the_robots_pose(client):
    session = begin(client, kind="hand-eye", mounting="eye_in_hand")
    assert "pose" in capture(client, session, picture(0)).json()["error"]["message"]
    for wrong in ("1 2 3", "0 0 0 0 0 0 0", "x y z 0 0 0 1"):
        assert capture(client, session, picture(0), wrong).status_code == 400
    assert capture(client, session, picture(0), "0.1 0.2 0.3 0 0 0 1").json()["images"] == 1


def test_what_is_no_board_or_no_image_is_refused(client):
    assert client.post("/v1/calibration/session", json={"board": "cardboard"}).status_code == 400
    session = begin(client)
    answer = client.post(f"/v1/calibration/session/{session['id']}/capture", files={"image": ("x.png", b"no image")})
    assert answer.status_code == 400


@pytest.mark.timeout(300)
def test_the_kept_images_are_calibrated_in_a_job(client):
    session = begin(client, name="wrist")
    for seed in range(12):
        capture(client, session, picture(seed))
    job = client.post(f"/v1/calibration/session/{session['id']}/solve").json()
    with client.stream("GET", f"/v1/jobs/{job['id']}/events", timeout=280.0) as response:
        for _ in response.iter_lines():
            pass
    done = client.get(f"/v1/jobs/{job['id']}").json()
    assert done["state"] == "done", done
    assert done["result"]["rms_px"] < 0.5 and {"wrist.yaml", "wrist.html"} <= set(done["files"])
    report = client.get(f"/v1/jobs/{job['id']}/files/wrist.html")
    assert "sandbox" in report.headers["content-security-policy"]
