"""Jobs over real HTTP, each in a process of its own: results, files, cancelling, and what survives a restart."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import threading
import time
import zipfile
from contextlib import contextmanager

import httpx
import pytest
import trimesh

from object_pose.web.config import JobsConfig, WebConfig
from object_pose.web.errors import HttpError
from object_pose.web.server import WebServer
from object_pose.web.services import open_services

LIMIT_S = 220.0


@contextmanager
def serving(state, **config):
    services = open_services(
        WebConfig(port=0, state_folder=str(state), shipped_models=False, jobs=JobsConfig(nice=0), **config)
    )
    server = WebServer(services)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with httpx.Client(base_url=server.url, timeout=LIMIT_S) as client:
            yield client
    finally:
        server.stop()
        thread.join()


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path / "state") as client:
        yield client


def wait_for(client, job, is_reached):
    deadline = time.monotonic() + LIMIT_S
    while not is_reached(found := client.get(f"/v1/jobs/{job['id']}").json()):
        assert time.monotonic() < deadline, (found, client.get(f"/v1/jobs/{job['id']}/log").text)
        threading.Event().wait(0.2)
    return found


def is_over(job):
    return job["state"] not in ("queued", "running")


def upload(client, name, content):
    return client.post("/v1/uploads", files={"file": (name, content)})


def refusal(response, status=400):
    assert response.status_code == status, response.text
    return response.json()["error"]["message"]


def zipped(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/"), text)
    return content.getvalue()


@pytest.mark.timeout(240)
def test_parts_of_a_cad_file_are_read_in_a_job_whose_files_and_events_can_be_had(client):
    box = trimesh.creation.box((40.0, 20.0, 10.0)).export(file_type="stl")
    part = upload(client, "C:\\parts\\my block.stl", box).json()
    assert part["name"] == "my block.stl"
    kinds = client.get("/v1/jobs/kinds").json()["kinds"]
    assert kinds["onboard"]["schema"]["properties"]["parts"]["items"]["type"] == "string"
    assert kinds["train"]["schema"]["required"] == ["task"]
    options = {"parts": [f"upload:{part['id']}"], "unit": "mm"}
    job = client.post("/v1/jobs", json={"kind": "onboard-plan", "options": options}).json()
    assert job["state"] in ("queued", "running") and job["options"] == options
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as response:
        lines = [line for line in response.iter_lines() if line]
    assert json.loads(lines[-1].removeprefix("data: "))["state"] == "done", lines
    assert "event: progress" in lines
    done = client.get(f"/v1/jobs/{job['id']}").json()
    (found,) = done["result"]["parts"]
    assert sorted(found["size_m"]) == pytest.approx([0.01, 0.02, 0.04])
    assert found["needs_confirmation"] and found["symmetry"]["discrete"]
    assert found["file"] in done["files"]
    glb = client.get(f"/v1/jobs/{job['id']}/files/{found['file']}")
    assert glb.content[:4] == b"glTF"
    for path in ("../job.json", "..%2Fjob.json", "%2e%2e/log.txt", "/etc/passwd", "parts/../../log.txt", "missing"):
        assert client.get(f"/v1/jobs/{job['id']}/files/{path}").status_code == 404
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 409
    assert [item["id"] for item in client.get("/v1/jobs").json()] == [job["id"]]
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404


@pytest.mark.timeout(240)
def test_what_does_not_fit_is_refused_before_it_is_queued(client):
    def ask(kind, **options):
        return client.post("/v1/jobs", json={"kind": kind, "options": options})

    assert "known are" in refusal(ask("format-disk"))
    assert "'task' is missing" in refusal(ask("train"))
    assert "did you mean 'steps'" in refusal(ask("train", task="oriented", step=5))
    assert "outside" in refusal(ask("train", task="oriented", steps=0))
    assert "choose one of" in refusal(ask("train", task="cook"))
    for name in (
        "/etc/passwd",
        "../x",
        "upload:0123456789abcdef",
        "upload:../../x",
        "job:0123456789ab/x",
        "dataset:..",
    ):
        assert "there is no" in refusal(ask("check-dataset", data=name))
    text = upload(client, "notes.txt", b"no CAD").json()
    assert "give one of" in refusal(ask("onboard-plan", parts=[f"upload:{text['id']}"]))
    assert client.get("/v1/jobs").json() == []


@pytest.mark.timeout(400)
def test_a_job_outlives_its_server_is_cancelled_goes_on_and_is_found_interrupted(tmp_path):
    state = tmp_path / "state"
    options = {
        "task": "oriented",
        "steps": 1_000_000,
        "batch_size": 2,
        "workers": 0,
        "threads": 1,
        "checkpoint_every": 5,
    }
    with serving(state) as client:
        job = client.post("/v1/jobs", json={"kind": "train", "options": options}).json()
        waiting = client.post("/v1/jobs", json={"kind": "train", "options": options}).json()
        wait_for(client, job, lambda item: item["state"] == "running" and item["fraction"])
        assert client.get(f"/v1/jobs/{waiting['id']}").json()["state"] == "queued"
        assert client.post(f"/v1/jobs/{waiting['id']}/cancel").json()["state"] == "cancelled"
    with serving(state) as client:
        before = client.get(f"/v1/jobs/{job['id']}").json()
        assert before["state"] == "running"
        wait_for(client, job, lambda item: item["fraction"] > before["fraction"])
        client.post(f"/v1/jobs/{job['id']}/cancel")
        cancelled = wait_for(client, job, is_over)
        assert cancelled["state"] == "cancelled"
        run = state / "jobs" / job["id"] / "output" / "run"
        assert (run / "last.pt").exists() and not list(run.glob(".*"))
        client.post(f"/v1/jobs/{job['id']}/resume")
        resumed = wait_for(client, job, lambda item: item["state"] == "running" and item["fraction"])
        assert resumed["fraction"] >= cancelled["fraction"]
        services_pid = worker_of(state, job)
    os.killpg(services_pid, signal.SIGKILL)
    with serving(state) as client:
        assert wait_for(client, job, is_over)["state"] == "interrupted"


def worker_of(state, job):
    with sqlite3.connect(state / "jobs" / "jobs.sqlite3") as database:
        return database.execute("SELECT pid FROM jobs WHERE id = ?", (job["id"],)).fetchone()[0]


def test_jobs_beyond_the_queue_are_refused(tmp_path):
    services = open_services(
        WebConfig(state_folder=str(tmp_path), shipped_models=False, jobs=JobsConfig(most_waiting=1))
    )
    services.jobs.submit_checked("train", {})
    with pytest.raises(HttpError) as refused:
        services.jobs.submit_checked("train", {})
    assert refused.value.status_code == 429 and refused.value.headers["Retry-After"]
    services.jobs.store.close()


def test_a_zip_is_unpacked_and_one_that_leads_elsewhere_or_holds_too_much_is_refused(tmp_path):
    with serving(tmp_path / "state", max_uploads_mb=1) as client:
        kept = upload(client, "set.zip", zipped(a__b="text", c="more")).json()
        content = tmp_path / "state" / "uploads" / kept["id"] / "content"
        assert sorted(file.relative_to(content).as_posix() for file in content.rglob("*") if file.is_file()) == [
            "set/a/b",
            "set/c",
        ]
        assert "leads out" in refusal(upload(client, "x.zip", zipped(**{"../evil": "x"})))
        assert "more than is unpacked" in refusal(upload(client, "x.zip", zipped(bomb="0" * (1 << 24))))
        assert "cannot be unpacked" in refusal(upload(client, "x.zip", b"PK no zip"))
        assert "is empty" in refusal(upload(client, "x.stl", b""))
        assert "no place" in refusal(upload(client, "x.stl", bytes(1 << 21)))
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        with zipfile.ZipFile(archive := io.BytesIO(), "w") as opened:
            opened.writestr(link, "/etc/passwd")
        assert "is a link" in refusal(upload(client, "x.zip", archive.getvalue()))
        assert [item.name for item in (tmp_path / "state" / "uploads").iterdir()] == [kept["id"]]
        assert client.delete(f"/v1/uploads/{kept['id']}").status_code == 204
        assert client.delete(f"/v1/uploads/{kept['id']}").status_code == 404
