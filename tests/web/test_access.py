"""Who may call what: every route, without a token, with one of too small a scope, and from elsewhere."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess

import pytest

from object_pose.core.errors import ConfigError
from object_pose.core.params import make_config
from object_pose.web.config import WebConfig
from object_pose.web.security.scopes import Scope
from object_pose.web.security.tokens import TokenStore
from object_pose.web.server import WebServer
from object_pose.web.services import open_services

PUBLIC = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/health"),
    ("GET", "/v1/session"),
    ("POST", "/v1/session"),
    ("DELETE", "/v1/session"),
}


def operations(client, headers):
    """Return (method, path with values, operation) of every route of the OpenAPI."""
    document = client.get("/v1/openapi.json", headers=headers).json()
    return [
        (method.upper(), path.replace("{", "").replace("}", ""), path)
        for path, methods in document["paths"].items()
        for method in methods
    ]


def test_no_route_answers_without_a_token(serve, tokens):
    server = serve()
    found = operations(server.client, server.as_(tokens[Scope.READ]))
    assert len(found) > 15
    for method, url, path in found:
        answer = server.client.request(method, url)
        if (method, path) in PUBLIC:
            assert answer.status_code != 403
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.json()["error"]["code"] == "unauthenticated"
            assert answer.headers["www-authenticate"] == "Bearer"
        assert server.client.request(method, url, headers=server.as_("op_00000000_" + "x" * 43)).status_code in (
            (401,) if (method, path) not in PUBLIC else (200, 204, 422, 503)
        )


def test_no_route_answers_a_token_of_too_small_a_scope(serve, tokens):
    server = serve()
    order = list(Scope)
    needed = {}
    for method, url, path in operations(server.client, server.as_(tokens[Scope.READ])):
        if (method, path) in PUBLIC:
            continue
        refused = [
            s for s in order if server.client.request(method, url, headers=server.as_(tokens[s])).status_code == 403
        ]
        assert refused == order[: len(refused)], (method, path)
        needed[method, path] = order[len(refused)]
    assert needed["GET", "/v1/models"] is Scope.READ
    assert needed["POST", "/v1/predict/{task}"] is Scope.PREDICT
    assert {scope for (method, path), scope in needed.items() if method == "GET"} == {Scope.READ}
    changing = {path: scope for (method, path), scope in needed.items() if method in ("POST", "DELETE", "PUT")}
    predicting = {"/v1/predict/{task}", "/predict", "/inference"}
    assert all(scope is (Scope.PREDICT if path in predicting else Scope.OPERATE) for path, scope in changing.items())


def test_what_does_not_exist_needs_a_token_too(serve, tokens):
    server = serve()
    assert server.client.get("/nothing").status_code == 401
    assert server.client.get("/nothing", headers=server.as_(tokens[Scope.READ])).status_code == 404
    assert server.client.get("/v1/models/../../healthz").status_code in (200, 401)
    assert server.client.get("//v1/models").status_code == 401


def test_off_loopback_a_server_without_tokens_does_not_start(tmp_path):
    config = make_config(WebConfig, {"host": "0.0.0.0", "port": 0, "state_folder": str(tmp_path)})
    with pytest.raises(ConfigError, match="tokens create"):
        WebServer(open_services(config))


def test_on_loopback_no_token_is_asked_until_there_is_one(serve, tmp_path):
    server = serve()
    assert server.client.get("/v1/session").json() == {"scope": "operate", "authentication": False}
    assert server.client.get("/v1/models").status_code == 200
    token = TokenStore(tmp_path / "state").create("first", Scope.READ)
    assert server.client.get("/v1/models").status_code == 401
    assert server.client.get("/v1/models", headers=server.as_(token)).status_code == 200


def test_without_tokens_only_this_machines_names_are_answered(serve):
    server = serve()
    assert server.client.get("/v1/models", headers={"Host": "attacker.example"}).status_code == 403
    for name in ("localhost:8080", "127.0.0.1", "[::1]:80"):
        assert server.client.get("/v1/models", headers={"Host": name}).status_code == 200


def test_a_revoked_token_is_refused_at_once(serve, tokens, tmp_path):
    server = serve()
    headers = server.as_(tokens[Scope.READ])
    assert server.client.get("/v1/models", headers=headers).status_code == 200
    TokenStore(tmp_path / "state").revoke("read")
    assert server.client.get("/v1/models", headers=headers).status_code == 401


def test_tokens_are_hashed_at_rest_and_only_their_owner_reads_them(tokens, tmp_path):
    file = tmp_path / "state" / "tokens.json"
    content = file.read_text()
    assert all(token not in content and token.split("_", 2)[2] not in content for token in tokens.values())
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0


def origin(server):
    return {"Origin": str(server.client.base_url).rstrip("/")}


def test_a_session_stands_for_its_token(serve, tokens, tmp_path):
    server = serve()
    client = server.client
    assert client.get("/v1/session").json() == {"scope": None, "authentication": True}
    assert client.post("/v1/session", json={"token": "op_00000000_" + "x" * 43}).status_code == 401
    answer = client.post("/v1/session", json={"token": tokens[Scope.PREDICT]})
    assert answer.json() == {"scope": "predict", "authentication": True}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and tokens[Scope.PREDICT] not in cookie
    assert client.get("/v1/models").status_code == 200
    assert client.get("/v1/session").json()["scope"] == "predict"
    image = {"file": b"no image"}
    assert client.post("/predict", files=image).status_code == 403  # no Origin
    assert client.post("/predict", files=image, headers={"Origin": "http://attacker.example"}).status_code == 403
    assert client.post("/predict", files=image, headers=origin(server)).status_code == 400
    assert client.delete("/v1/session", headers=origin(server)).status_code == 204
    assert client.get("/v1/models").status_code == 401


def test_a_session_outlives_a_restart_but_not_its_token(serve, tokens, tmp_path):
    first, second = serve(), serve()
    first.client.post("/v1/session", json={"token": tokens[Scope.READ]})
    ((name, value),) = first.client.cookies.items()

    def status(value):
        return second.client.get("/v1/models", headers={"Cookie": f"{name}={value}"}).status_code

    assert status(value) == 200
    assert status(value[:-1] + ("0" if value[-1] != "0" else "1")) == 401
    TokenStore(tmp_path / "state").revoke("read")
    assert status(value) == 401


@pytest.mark.parametrize("cookie", ["", ".", "a.b.c.d", "....", "é"])
def test_no_cookie_but_ours_is_a_session(tokens, tmp_path, cookie):
    assert TokenStore(tmp_path / "state").find_session(cookie) is None


def test_pages_of_other_origins_cannot_change_anything(serve):
    server = serve()
    answer = server.client.post("/v1/models/a/activate", headers={"Origin": "http://attacker.example"})
    assert answer.status_code == 403
    preflight = server.client.options("/v1/models", headers={"Origin": "http://attacker.example"})
    for answer in (preflight, server.client.get("/v1/models", headers={"Origin": "http://attacker.example"})):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/nothing", "/v1/reports/a/b"])
def test_every_answer_has_the_security_headers(serve, tokens, path):
    server = serve()
    for headers in ({}, server.as_(tokens[Scope.READ])):
        answer = server.client.get(path, headers=headers)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy and "unsafe" not in policy and "default-src 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "server" not in answer.headers


def test_who_sends_too_much_is_told_when_to_come_again(serve):
    server = serve(requests_per_second=0.1, burst=10)
    answers = [server.client.get("/healthz") for _ in range(12)]
    assert answers[-1].status_code == 429
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 10


def test_bodies_that_are_too_large_are_not_read(serve):
    server = serve(max_upload_mb=1, max_json_mb=1)
    large = b"0" * (3 << 20)
    assert server.client.post("/predict", files={"file": large}).status_code == 413
    headers = {"Content-Type": "application/json"}
    assert server.client.post("/inference", content=large, headers=headers).status_code == 413

    def pieces():
        for _ in range(30):
            yield b"0" * 100_000

    assert server.client.post("/inference", content=pieces(), headers=headers).status_code == 413


def test_a_request_that_is_no_http_is_refused(serve):
    server = serve()
    url = server.client.base_url
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        connection.sendall(b"\x16\x03\x01 no request\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert server.client.get("/healthz").status_code == 200


def test_the_audit_log_says_who_did_what_and_holds_no_secret(serve, tokens, tmp_path):
    server = serve()
    token = tokens[Scope.OPERATE]
    server.client.post("/v1/session", json={"token": token})
    server.client.post("/v1/models/none/activate", headers=server.as_(token))
    server.client.get("/v1/models?token=" + token)
    text = (tmp_path / "state" / "audit.jsonl").read_text()
    events = [json.loads(line) for line in text.splitlines()]
    activated = [event for event in events if event["path"].endswith("/activate")]
    assert [(event["name"], event["status"]) for event in activated] == [("operate", 404)]
    for secret in (*tokens.values(), *server.client.cookies.values()):
        assert secret not in text


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls(serve, tokens, tmp_path):
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = serve(certificate=str(certificate), key=str(key))
    assert server.client.base_url.scheme == "https"
    answer = server.client.post("/v1/session", json={"token": tokens[Scope.READ]})
    assert "Secure" in answer.headers["set-cookie"] and "strict-transport-security" in answer.headers
    assert server.client.delete("/v1/session", headers=origin(server)).status_code == 204


@pytest.mark.parametrize("values", [{"certificate": "a.pem"}, {"key": "a.key"}, {"certificate": "a", "key": "b"}])
def test_tls_needs_both_files(tmp_path, values):
    config = make_config(WebConfig, {"port": 0, "state_folder": str(tmp_path), **values})
    with pytest.raises(ConfigError, match=r"--certificate and --key"):
        WebServer(open_services(config))
