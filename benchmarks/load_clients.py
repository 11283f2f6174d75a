"""The clients of ``load_check``, in a process of their own: ``python -m benchmarks.load_clients --url URL``."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from object_pose.runtime.priority import yield_cores

_SILENT_S, _ANSWERED_S = 10.0, 60.0
_NICE = 10  # in life they are other machines
_CHUNK = 1 << 16
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CAMERA = Path(__file__).resolve().parents[1] / "calibration" / "intrinsics" / "simulated.yaml"


@dataclass
class Load:
    """What the clients saw."""

    errors: list[str] = field(default_factory=list)
    refused: int = 0
    times_ms: list[float] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def figures(self) -> dict[str, Any]:
        """Return them as figures; rates are those of the slowest client and of the median one."""
        p50, p99 = np.percentile(self.times_ms, [50, 99]) if self.times_ms else (float("nan"),) * 2
        return {
            "errors": len(self.errors),
            "first_errors": self.errors[:5],
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "predictions": len(self.times_ms),
            "predictions_hz": len(self.times_ms) / self.seconds,
            "refused": self.refused,
            "streams": len(self.messages),
            "stream_hz_least": min(self.messages, default=0) / self.seconds,
            "stream_hz_median": float(np.median(self.messages)) / self.seconds if self.messages else 0.0,
        }


async def _stream(url: str, path: str, load: Load, end: float) -> None:
    """Read a stream to the end, and count its events or pictures."""
    mark = b"event: frame" if path.endswith("events") else b"X-Stamp-Ns"
    count, tail = 0, b""
    try:
        reader, writer = await asyncio.open_connection(*_address(url))
        writer.write(_request("GET", path))
        status = int((await reader.readline()).split()[1])
        if status != 200:
            load.errors.append(f"{path}: {status}")
            return
        while time.monotonic() < end:
            chunk = await asyncio.wait_for(reader.read(_CHUNK), _SILENT_S)
            if not chunk:
                load.errors.append(f"{path}: it ended")
                break
            count += (tail + chunk).count(mark) - tail.count(mark)
            tail = chunk[-len(mark) :]
        writer.close()
    except (OSError, asyncio.TimeoutError, IndexError, ValueError) as error:
        load.errors.append(f"{path}: {type(error).__name__} {error}")
    load.messages.append(count)


async def _predict(url: str, task: str, body: bytes, kind: str, load: Load, end: float) -> None:
    """Ask for one prediction after the other."""
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection(*_address(url))
            writer.write(_request("POST", f"/v1/predict/{task}", body, kind))
            answer = await asyncio.wait_for(reader.read(), _ANSWERED_S)
            writer.close()
            head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
            status = int(head.split()[1])
        except (OSError, asyncio.TimeoutError, IndexError, ValueError) as error:
            load.errors.append(f"predict: {type(error).__name__} {error}")
            continue
        if status == 429:
            load.refused += 1
            after = re.search(r"retry-after: (\d+)", head, re.IGNORECASE)
            await asyncio.sleep(float(after.group(1)) if after else 1.0)
        elif status == 200:
            load.times_ms.append(1e3 * (time.monotonic() - began))
        else:
            load.errors.append(f"predict: {status}")


def _deaf_client(url: str) -> socket.socket:
    """Ask for pictures and read none."""
    deaf = socket.create_connection(_address(url))
    deaf.sendall(_request("GET", "/v1/live/stream.mjpeg"))
    return deaf


def _prediction(with_depth: bool) -> tuple[bytes, str]:
    """Return a request's body with the example's image, camera and perhaps depth, and the body's type."""
    files = {"image": EXAMPLES / "parts.jpg", "camera": CAMERA}
    if with_depth:
        files["depth"] = EXAMPLES / "parts_depth.png"
    boundary = secrets.token_hex(16)
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file.name}"\r\n\r\n'.encode()
        + file.read_bytes()
        + b"\r\n"
        for name, file in files.items()
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _request(method: str, path: str, body: bytes = b"", kind: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


async def _all_clients(options: argparse.Namespace) -> Load:
    """Run stream clients, those that ask for predictions, and one that reads nothing, for the time that is given."""
    load, end = Load(seconds=options.seconds), time.monotonic() + options.seconds
    body, kind = _prediction(options.depth)
    deaf = _deaf_client(options.url)
    kinds = ("/v1/live/events", "/v1/live/stream.mjpeg?width=640", "/v1/live/stream.mjpeg?width=320")
    streams = [_stream(options.url, kinds[index % len(kinds)], load, end) for index in range(options.streams)]
    asked = [_predict(options.url, options.task, body, kind, load, end) for _ in range(options.predictors)]
    await asyncio.gather(*streams, *asked)
    deaf.close()
    return load


def main() -> int:
    """Run the clients and print what they saw as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--predictors", type=int, required=True)
    parser.add_argument("--depth", action="store_true")
    yield_cores(_NICE)
    print(json.dumps(asyncio.run(_all_clients(parser.parse_args())).figures()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
