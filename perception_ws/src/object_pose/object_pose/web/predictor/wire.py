"""Messages between the server and its predictor: a head of JSON values and blobs of bytes, over a socket."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Message:
    """What was received: JSON values, and the bytes that came with them."""

    head: Mapping[str, Any]
    blobs: tuple[bytes, ...] = ()


def send(connection: socket.socket, head: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> None:
    """Send a message; raises ``OSError`` where the other end is gone or takes nothing within the socket's timeout."""
    text = json.dumps({"head": head, "lengths": [len(blob) for blob in blobs]}).encode()
    connection.sendall(_LENGTH.pack(len(text)) + text)
    for blob in blobs:
        connection.sendall(blob)


def receive(connection: socket.socket) -> Message:
    """Wait for a message; raises ``EOFError`` where the other end is gone, ``OSError`` as sockets do."""
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size))
    values = json.loads(_read(connection, length))
    return Message(values["head"], tuple(_read(connection, count) for count in values["lengths"]))


def _read(connection: socket.socket, count: int) -> bytes:
    content, filled = bytearray(count), 0
    view = memoryview(content)
    while filled < count:
        received = connection.recv_into(view[filled:])
        if not received:
            raise EOFError("the other end is closed")
        filled += received
    return bytes(content)
