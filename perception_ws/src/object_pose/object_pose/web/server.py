"""The app on a socket: uvicorn with our settings, and the refusal to be open to a network without tokens."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import uvicorn

from object_pose.core.errors import ConfigError
from object_pose.web.app import create_app
from object_pose.web.config import WebConfig
from object_pose.web.services import Services

_BACKLOG = 512
_MOST_CONNECTIONS = 2000
# A client that takes nothing for so long is cut off, whatever the server still has for it.
_DEAF_FOR_MS = 20_000
# The kernel would keep megabytes for a slow client: what it gets next is the newest picture, not an old one.
_MOST_UNSENT = 128 << 10


class WebServer:
    """Listens from construction on, so that ``url`` is known; ``run`` serves until ``stop`` or SIGINT.

    Raises ``ConfigError`` where the address is taken, where it is off loopback and there is no token, or where the
    certificate cannot be used.
    """

    def __init__(self, services: Services) -> None:
        config = services.config
        if not config.is_loopback and not services.tokens.list():
            raise ConfigError(
                f"{config.host} is reached by others and there is no token",
                "make one first: object-pose tokens create --scope operate --name NAME",
            )
        _check_certificate(config)
        self._socket = _listen(config)
        self._server = _Server(
            services,
            uvicorn.Config(
                create_app(services),
                ssl_certfile=config.certificate or None,
                ssl_keyfile=config.key or None,
                log_level="warning",
                access_log=False,  # requests are in the metrics and the audit log; paths may hold secrets
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=3,
                timeout_keep_alive=30,
                limit_concurrency=_MOST_CONNECTIONS,
                h11_max_incomplete_event_size=64 << 10,
                ws="none",
                lifespan="on",
            ),
        )

    @property
    def url(self) -> str:
        """Where the server is reached from this machine."""
        host, port = self._socket.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        return f"{'https' if self._server.config.ssl_certfile else 'http'}://{name}:{port}"

    def run(self) -> None:
        """Serve; returns when the server was stopped."""
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has ended in order, and raises it afterwards
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End ``run``, from any thread."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """A server that ends its streams before it waits for the answers under way: they have no end of their own."""

    def __init__(self, services: Services, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._services = services

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order."""
        self._services.end_streams()
        await super().shutdown(sockets)


def _listen(config: WebConfig) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: connections inherit it
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAF_FOR_MS)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        hint = "another program may use the port: choose one with --port"
        raise ConfigError(f"{config.host}:{config.port} cannot be listened on: {error.strerror}", hint) from error
    return listening


def _check_certificate(config: WebConfig) -> None:
    if bool(config.certificate) != bool(config.key):
        raise ConfigError("TLS needs both a certificate and its key", "give --certificate and --key")
    for file in filter(None, (config.certificate, config.key)):
        if not Path(file).is_file():
            raise ConfigError(f"{file} does not exist", "name PEM files with --certificate and --key")
