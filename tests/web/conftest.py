"""The server as its clients have it: on a free port of this machine, asked over HTTP."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cube import save_cube_model
from object_pose.core.params import make_config
from object_pose.web.config import WebConfig
from object_pose.web.security.scopes import Scope
from object_pose.web.security.tokens import TokenStore
from object_pose.web.server import WebServer
from object_pose.web.services import Services, open_services


@dataclass(frozen=True)
class Running:
    """A server that runs: a client without a token, and what the server works with."""

    client: httpx.Client
    services: Services

    def as_(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}


@contextmanager
def running(state: Path, **values: object) -> Iterator[Running]:
    """Run a server in a thread, and wait until its models are open."""
    verify = ssl.create_default_context(cafile=str(values["certificate"])) if "certificate" in values else True
    config = make_config(
        WebConfig, {"port": 0, "state_folder": str(state), "store": str(state / "store"), "jobs.nice": 0} | values
    )
    services = open_services(config)
    server = WebServer(services)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with httpx.Client(base_url=server.url, timeout=60.0, verify=verify) as client:
            while client.get("/readyz").status_code != 200:
                assert thread.is_alive()
            yield Running(client, services)
    finally:
        server.stop()
        thread.join()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a server of a test's own, without models unless it says otherwise."""
    with ExitStack() as stack:

        def start(**values: object) -> Running:
            return stack.enter_context(running(tmp_path / "state", **({"shipped_models": False} | values)))

        yield start


@pytest.fixture(scope="package")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the shipped models, for tests that change nothing."""
    with running(tmp_path_factory.mktemp("shipped"), requests_per_second=1e5, burst=100_000) as server:
        yield server


@pytest.fixture(scope="package")
def cube_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose only model always finds the cube where it is."""
    state = tmp_path_factory.mktemp("cube")
    (state / "models").mkdir()
    save_cube_model(state / "models" / "cube.onnx")
    (state / "models" / "active.json").write_text('{"pose": "cube"}')
    with running(state, shipped_models=False) as server:
        yield server


@pytest.fixture
def tokens(tmp_path: Path) -> dict[Scope, str]:
    """A token of each scope, made before the server that ``serve`` starts."""
    store = TokenStore(tmp_path / "state")
    return {scope: store.create(scope.value, scope) for scope in Scope}
