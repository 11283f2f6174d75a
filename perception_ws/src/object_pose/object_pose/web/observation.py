"""ASGI middleware around everything: answers for uncaught exceptions, security headers, metrics and the audit log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from object_pose.web.errors import as_http_error
from object_pose.web.metrics import Metrics
from object_pose.web.security.audit import AuditLog

logger = logging.getLogger(__name__)

_NOT_AUDITED = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_DISCARD_SECONDS = 2.0
_REFUSALS = frozenset({401, 403, 429})


class Observation:
    """Sees every request and its answer."""

    def __init__(self, app: ASGIApp, headers: Mapping[bytes, bytes], metrics: Metrics, audit: AuditLog) -> None:
        self._app, self._headers, self._metrics, self._audit = app, headers, metrics, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, body = time.perf_counter(), 0, _Body(scope, receive)

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400:
                    await body.discard()
                message["headers"] = self._with_headers(message["headers"])
                self._metrics.answered(_route(scope), _method(scope), status, time.perf_counter() - began)
                self._note(scope, status)
            await send(message)

        try:
            await self._app(scope, body.receive, observed)
        except Exception as error:
            answer = as_http_error(error)
            if answer.status_code >= 500:
                logger.exception("%s %s failed", scope["method"], scope["path"])
            if status:  # the answer has begun and can only be broken off
                raise
            await answer.response()(scope, body.receive, observed)

    def _with_headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        own = {name.lower() for name, _ in headers}
        return [*headers, *((name, value) for name, value in self._headers.items() if name not in own)]

    def _note(self, scope: Scope, status: int) -> None:
        if scope["method"] in _NOT_AUDITED and status not in _REFUSALS:
            return
        who, client = scope.get("state", {}).get("caller"), scope.get("client")
        self._audit.write(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            token=who.id if who else "",
            name=who.name if who else "",
            address=client[0] if client else "",
        )


class _Body:
    """The body of a request; of one that is refused the rest is taken and dropped, for a while.

    Otherwise the connection would be reset under a client that still sends, before it has read the answer.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        names = {name for name, _ in scope["headers"]}
        self._is_expected = b"expect" not in names and bool(names & {b"content-length", b"transfer-encoding"})
        self._receive = receive

    async def receive(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        self._is_expected &= bool(message.get("more_body"))
        return message

    async def discard(self) -> None:
        """Read what is left."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._read_all(), _DISCARD_SECONDS)

    async def _read_all(self) -> None:
        while self._is_expected:
            await self.receive()


def _route(scope: Scope) -> str:
    """Return the template of the route that was taken, so that the number of labels is bounded."""
    return str(getattr(scope.get("route"), "path", "other"))


def _method(scope: Scope) -> str:
    """Return the method, or 'other' for what a client made up."""
    return scope["method"] if scope["method"] in _METHODS else "other"
