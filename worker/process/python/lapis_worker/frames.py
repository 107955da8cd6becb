"""Frames on a stream socket: length (4 bytes), kind (1), id (8), then the payload; big-endian.

The same layout is in frame.go, which also says what each kind carries.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from typing import Any, NamedTuple

REQUEST, RESPONSE = 1, 2
STAGE, READY, FAILED = 16, 17, 18
PING, PONG, WHERE = 19, 20, 21

MAX_BODY = 100 << 20
_HEADER = struct.Struct(">IBQ")
_META = struct.Struct(">I")
_ANSWER = struct.Struct(">HBQI")
RAN, RUN_FAILED = 1, 2


class Frame(NamedTuple):
    kind: int
    id: int
    payload: bytes


class Channel:
    """One end of a socket pair that the supervisor has left to us."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # what the script starts must not hold it open
        self._socket = socket.socket(fileno=fd)
        self._reader = self._socket.makefile("rb", buffering=1 << 16)
        self._write = threading.Lock()

    def read(self) -> Frame | None:
        """Return the next frame, or None when the other end is gone."""
        header = self._reader.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        length, kind, frame_id = _HEADER.unpack(header)
        payload = self._reader.read(length)
        return Frame(kind, frame_id, payload) if len(payload) == length else None

    def send(self, kind: int, frame_id: int, payload: bytes) -> None:
        with self._write:
            self._socket.sendall(_HEADER.pack(len(payload), kind, frame_id) + payload)

    def send_json(self, kind: int, value: Any) -> None:
        self.send(kind, 0, json.dumps(value).encode())


def read_request(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a request into what goes with it (method, type, headers) and its body."""
    (size,) = _META.unpack_from(payload)
    start = _META.size + size
    meta = json.loads(payload[_META.size : start]) if size else {}
    return meta, payload[start:]


def answer(status: int, body: bytes, flags: int = 0, nanoseconds: int = 0, headers: list[Any] | None = None) -> bytes:
    """Build the payload of a RESPONSE. Without headers it is application/json."""
    meta = json.dumps(headers).encode() if headers else b""
    return _ANSWER.pack(status, flags, nanoseconds, len(meta)) + meta + body
