"""Streams of the newest frame: encoded once for all clients, and sent to each as fast as it reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from object_pose.core.errors import DataError
from object_pose.web.errors import HttpError
from object_pose.web.live import encoding
from object_pose.web.live.hub import LiveHub, ShownFrame, StreamConfig

logger = logging.getLogger(__name__)

BOUNDARY = "frame"
_EVENTS = 0  # beside the widths of pictures
_WIDTH_STEP, _LARGEST_WIDTH = 160, 1920
_STATUS_PERIOD_S = _IDLE_S = 1.0
_HEARTBEAT_S = 10.0
_HEARTBEAT = b": still here\n\n"
# A picture that stands still is sent again now and then: a client that is gone is noticed by that alone.
_PICTURE_REPEATED_S = 5.0


Make = Callable[[ShownFrame | None], bytes | None]
Chunks = AsyncGenerator[bytes, None]


class Broadcast:
    """Makes a chunk of the newest frame at a rate, while anybody listens; all listeners get the same bytes.

    ``make`` runs in a thread; None says that there is nothing to send. Without a new frame it is called with None once
    a second, and after ``idle_s`` without a chunk all get ``idle``, or the last one again. Each listener gets the
    newest chunk when he has taken the last one; whatever came between is left out.
    """

    def __init__(
        self,
        hub: LiveHub,
        thread: ThreadPoolExecutor,
        make: Make,
        rate_hz: Callable[[], float],
        idle_s: float,
        idle: bytes = b"",
    ) -> None:
        self._hub, self._thread, self._make, self._rate_hz = hub, thread, make, rate_hz
        self._idle_s, self._idle = idle_s, idle
        self._listeners = 0
        self._number, self._chunk = 0, b""
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def chunks(self) -> Chunks:
        """Yield chunks until the server ends."""
        self._listeners += 1
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        number = 0
        try:
            while not self._is_closed:
                if self._number == number:
                    await self._changed.wait()
                else:
                    number = self._number
                    yield self._chunk
        finally:
            self._listeners -= 1
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task, self._number, self._chunk = None, 0, b""

    def close(self) -> None:
        """Let all listeners go."""
        self._is_closed = True
        self._changed.set()

    async def _run(self) -> None:
        loop, sequence, sent_at = asyncio.get_running_loop(), 0, time.monotonic()
        while True:
            began = time.monotonic()
            self._hub.want()
            shown = await self._hub.newer_than(sequence, _IDLE_S)
            if self._is_closed:
                return
            sequence = sequence if shown is None else shown.sequence
            try:
                chunk = await loop.run_in_executor(self._thread, self._make, shown)
            except Exception:  # whatever one frame did, the next one is worth trying
                logger.exception("a frame cannot be shown")
                chunk = None
            if chunk is None and time.monotonic() - sent_at >= self._idle_s:
                chunk = self._idle or self._chunk
            if chunk:
                sent_at = time.monotonic()
                self._number, self._chunk = self._number + 1, chunk
                changed, self._changed = self._changed, asyncio.Event()
                changed.set()
            await asyncio.sleep(max(0.0, began + 1.0 / self._rate_hz() - time.monotonic()))


class LiveStreams:
    """The streams of a hub: events with frames and status, and pictures of some widths."""

    def __init__(self, hub: LiveHub, config: StreamConfig) -> None:
        self._hub, self._config = hub, config
        self._thread = ThreadPoolExecutor(1, "live encoder")
        self._broadcasts: dict[int, Broadcast] = {}
        self._clients = 0

    def close(self) -> None:
        """End the streams, in their loop's thread."""
        for broadcast in self._broadcasts.values():
            broadcast.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def events(self) -> Response:
        """Return server-sent events: ``frame`` for each shown frame, ``status`` once a second."""
        heartbeat = _HEARTBEAT_S, _HEARTBEAT
        broadcast = self._broadcast(_EVENTS, _Events(self._hub), self._config.event_rate_hz, *heartbeat)
        return self._stream(broadcast.chunks(), "text/event-stream")

    def pictures(self, width: int) -> Response:
        """Return an MJPEG stream of about a width, 0 for the camera's own."""
        # A few widths for all, each encoded once.
        width = min(-(-width // _WIDTH_STEP) * _WIDTH_STEP, _LARGEST_WIDTH) or -1
        quality = self._config.picture_quality

        def make(shown: ShownFrame | None) -> bytes | None:
            if shown is None:
                return None
            try:
                picture = encoding.picture(shown, width, quality)
            except DataError:
                return None
            header = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n"
            return f"{header}X-Stamp-Ns: {shown.stamp_ns}\r\n\r\n".encode() + picture + b"\r\n"

        broadcast = self._broadcast(width, make, self._config.picture_rate_hz, _PICTURE_REPEATED_S)
        return self._stream(broadcast.chunks(), f"multipart/x-mixed-replace; boundary={BOUNDARY}")

    def _broadcast(self, key: int, make: Make, most_hz: float, idle_s: float, idle: bytes = b"") -> Broadcast:
        def rate_hz() -> float:
            return min(most_hz, self._config.messages_per_second / max(self._clients, 1))

        if key not in self._broadcasts:
            self._broadcasts[key] = Broadcast(self._hub, self._thread, make, rate_hz, idle_s, idle)
        return self._broadcasts[key]

    def _stream(self, chunks: Chunks, media_type: str) -> Response:
        if self._clients >= self._config.most_clients:
            after = {"Retry-After": "5"}
            raise HttpError(503, "as many streams are open as the server serves", "too_many_streams", after)
        return NewestStream(self._counted(chunks), media_type, self._config.write_timeout_s)

    async def _counted(self, chunks: Chunks) -> Chunks:
        self._clients += 1
        try:
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        finally:
            self._clients -= 1


class _Events:
    """Makes server-sent events; called in one thread."""

    def __init__(self, hub: LiveHub) -> None:
        self._hub = hub
        self._status_due = 0.0

    def __call__(self, shown: ShownFrame | None) -> bytes | None:
        parts = [] if shown is None else [event("frame", encoding.frame_event(shown))]
        if time.monotonic() >= self._status_due:
            self._status_due = time.monotonic() + _STATUS_PERIOD_S
            parts.append(event("status", self._hub.status()))
        return b"".join(parts) or None


def event(name: str, data: Any) -> bytes:
    """Return one server-sent event with JSON data."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class NewestStream(Response):
    """Sends chunks as they come; a client that does not take one within the timeout is dropped."""

    def __init__(self, chunks: Chunks, media_type: str, write_timeout_s: float) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self.headers["Cache-Control"] = "no-store"
        self.headers["X-Accel-Buffering"] = "no"  # nginx would keep it back
        self._chunks, self._write_timeout_s = chunks, write_timeout_s
        self._sending_since = math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client is gone or deaf, or the server stops."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_disconnected(receive))
        try:
            # Looked at now and then: a timeout around each chunk would cost as much as sending it.
            while time.monotonic() - self._sending_since < self._write_timeout_s:
                until = self._write_timeout_s / 2.0
                done, _ = await asyncio.wait({sending, leaving}, timeout=until, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    break
        finally:
            for task in (sending, leaving):
                task.cancel()
            outcome, _ = await asyncio.gather(sending, leaving, return_exceptions=True)
            if isinstance(outcome, Exception):
                logger.error("a stream broke off", exc_info=outcome)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with contextlib.aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                self._sending_since = time.monotonic()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                self._sending_since = math.inf
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
