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

REQUEST, RESPONSE, RETURNED, PIECE, END = 1, 2, 3, 4, 5
STAGE, READY, FAILED = 16, 17, 18
PING, PONG, WHERE, RECALL, LEAVE = 19, 20, 21, 22, 23

MAX_BODY = 100 << 20
MAX_PIECE = 256 << 10  # of a streamed body
AT_ONCE = 128 << 10
RAN, RUN_FAILED, MORE = 1, 2, 4
_HEADER = struct.Struct(">IBQ")
_REQUEST = struct.Struct(">IBQI")
_ANSWER = struct.Struct(">HBQQI")
_RESPONSE = struct.Struct(">IBQHBQQI")
_BEGUN = struct.Struct(">Q")
_END = struct.Struct(">IBQBQ")


def _open(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)  # what the script starts must not hold it open
    return socket.socket(fileno=fd)


class Frame(NamedTuple):
    kind: int
    id: int
    payload: bytes


class Control:
    """The socket of the supervisor's questions. A thread reads it; any thread may send."""

    def __init__(self, fd: int) -> None:
        self._socket = _open(fd)
        self._reader = self._socket.makefile("rb", buffering=1 << 12)
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

    def send_begun(self, recalled: int, begun: int) -> None:
        self.send(RECALL, recalled, _BEGUN.pack(begun))


class Data:
    """The socket of requests, which the main thread alone uses."""

    def __init__(self, fd: int) -> None:
        opened = _open(fd)
        self._read = opened.makefile("rb", buffering=1 << 16).read
        self._send = opened.sendall

    def read(self) -> tuple[int, bytes, bytes] | None:
        """Return id, meta (JSON, mostly empty) and body of the next request, or None when the other end is gone."""
        header = self._read(_REQUEST.size)
        if len(header) < _REQUEST.size:
            return None
        length, _, frame_id, size = _REQUEST.unpack(header)
        length -= 4
        payload = self._read(length)
        if len(payload) < length:
            return None
        return (frame_id, payload[:size], payload[size:]) if size else (frame_id, b"", payload)

    def send(
        self, frame_id: int, status: int, body: bytes, flags: int, spent: int, busy: int, headers: list[Any] | None
    ) -> None:
        """Answer a request; times in ns. Without headers the body is application/json."""
        if headers is None and len(body) <= AT_ONCE:
            length = _ANSWER.size + len(body)
            self._send(_RESPONSE.pack(length, RESPONSE, frame_id, status, flags, spent, busy, 0) + body)
            return
        meta = b"" if headers is None else json.dumps(headers).encode()
        size = len(meta)
        length = _ANSWER.size + size + len(body)
        head = _RESPONSE.pack(length, RESPONSE, frame_id, status, flags, spent, busy, size)
        if len(body) <= AT_ONCE:
            self._send(head + meta + body)
        else:  # another call costs less than another copy
            self._send(head + meta)
            self._send(body)

    def send_piece(self, frame_id: int, piece: bytes) -> None:
        """Go on with an answer that was sent with the flag MORE. It blocks while nobody takes it."""
        for start in range(0, len(piece), MAX_PIECE):
            part = piece[start : start + MAX_PIECE]
            self._send(_HEADER.pack(len(part), PIECE, frame_id) + part)

    def send_end(self, frame_id: int, flags: int, busy: int) -> None:
        self._send(_END.pack(9, END, frame_id, flags, busy))

    def give_back(self, frame_id: int) -> None:
        self._send(_HEADER.pack(0, RETURNED, frame_id))
