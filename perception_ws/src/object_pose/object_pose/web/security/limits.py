"""How much a caller may send: requests a second, and bytes a request."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from object_pose.web.errors import HttpError

_MOST_CALLERS = 10_000


class RateLimiter:
    """A token bucket a caller; thread-safe, and of bounded memory however many callers there are."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, float(burst)
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Take one request from a caller's bucket; return 0, or in how many seconds there will be one."""
        now = time.monotonic()
        with self._lock:
            level, since = self._buckets.pop(caller, (self._burst, now))
            level = min(self._burst, level + (now - since) * self._per_second)
            is_free = level >= 1.0
            self._buckets[caller] = (level - is_free, now)
            while len(self._buckets) > _MOST_CALLERS:
                self._buckets.popitem(last=False)
        return 0.0 if is_free else (1.0 - level) / self._per_second


class BodyLimit:
    """ASGI middleware: a body that says to be, or is, larger than allowed ends in 413."""

    def __init__(self, app: ASGIApp, max_upload: int, max_other: int) -> None:
        self._app, self._max_upload, self._max_other = app, max_upload, max_other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting what it brings."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        is_upload = headers.get(b"content-type", b"").startswith(b"multipart/form-data")
        limit = self._max_upload if is_upload else self._max_other
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            raise _too_large(limit)
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > limit:
                raise _too_large(limit)
            return message

        await self._app(scope, counted, send)


def _too_large(limit: int) -> HttpError:
    return HttpError(413, f"the body is larger than {limit >> 20} MiB")
