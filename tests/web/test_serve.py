"""``object-pose serve`` and ``object-pose tokens`` as programs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import httpx
import pytest

PROGRAM = [sys.executable, "-m", "object_pose.cli.main"]


def tokens(*arguments):
    done = subprocess.run([*PROGRAM, "tokens", *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def served(tmp_path):
    """Start ``serve`` with ``--verbose``; gives its URL and the process, whose output is read at the end."""
    started = []

    def start(*options):
        command = [*PROGRAM, "serve", "--verbose", "--port", "0", "--no-shipped-models", "--state-folder", tmp_path]
        process = subprocess.Popen(
            [*map(str, command), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        url = re.search(r"http\S+", process.stdout.readline()).group()
        return url, process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.wait()


def test_tokens_are_created_listed_and_revoked(tmp_path):
    folder = ("--state-folder", tmp_path)
    code, made, _ = tokens("create", "--name", "planner", "--scope", "predict", *folder)
    assert code == 0 and re.fullmatch(r"op_[0-9a-f]{8}_[\w-]{43}\n", made)
    code, listed, _ = tokens("list", *folder)
    assert code == 0 and "planner" in listed and "predict" in listed and made.strip() not in listed
    code, _, problem = tokens("create", "--name", "planner", "--scope", "read", *folder)
    assert code == 2 and "already" in problem and problem.count("\n") == 1
    assert tokens("revoke", "planner", *folder)[0] == 0
    assert tokens("list", *folder)[1] == ""
    assert tokens("revoke", "planner", *folder)[0] == 2
    events = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(event["event"], event["name"]) for event in events] == [
        ("token created", "planner"),
        ("token revoked", "planner"),
    ]


def test_serve_refuses_a_network_without_tokens(tmp_path):
    command = [*PROGRAM, "serve", "--host", "0.0.0.0", "--state-folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and "tokens create" in done.stderr and done.stderr.count("\n") == 1


def test_no_secret_is_in_what_the_server_writes(served, tmp_path):
    token = tokens("create", "--name", "planner", "--scope", "operate", "--state-folder", tmp_path)[1].strip()
    url, process = served()
    wrong = "op_01234567_" + "w" * 43
    with httpx.Client(base_url=url) as client:
        for secret in (token, wrong):
            headers = {"Authorization": f"Bearer {secret}"}
            client.get("/v1/models", headers=headers)
            client.post("/v1/models", headers=headers, files={"model": b"no model"})
            client.post("/v1/session", json={"token": secret})
            client.post("/v1/session", json={"token": {"not": secret}})
            client.get(f"/v1/models?token={secret}")
            client.get("/v1/models", headers={"Authorization": f"Basic {secret}"})
        cookies = list(client.cookies.values())
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and cookies
    written = said + "".join(
        file.read_text(errors="replace")
        for file in tmp_path.rglob("*")
        if file.is_file() and file.name != "session.key"
    )
    assert "planner" in written
    for secret in (token, wrong, *cookies):
        assert secret not in written and secret.split("_", 2)[-1] not in written


def test_a_port_that_is_taken_is_named(served, tmp_path):
    url, _ = served()
    port = url.rpartition(":")[2]
    command = [*PROGRAM, "serve", "--port", port, "--no-shipped-models", "--state-folder", str(tmp_path / "other")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and port in done.stderr and "--port" in done.stderr
