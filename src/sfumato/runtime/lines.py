"""How messages travel between the controller and a worker: msgpack, each behind its length, on a socket pair.

A line keeps their order. The end of it is the end of the other side.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from select import select
from typing import Generic, TypeVar

import msgspec

from sfumato.runtime.wire import FromWorker, Message, ToWorker

_ENCODER = msgspec.msgpack.Encoder()
_LENGTH = 4
_M = TypeVar("_M")


def frame(message: Message) -> bytes:
    """A message as it goes over the socket: four bytes of length, then msgpack."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(_LENGTH, "little") + body


class Reader(Generic[_M]):
    """Cuts a stream of bytes into messages."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[_M]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[_M]:
        """The messages that `data` completes."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH:
            end = _LENGTH + int.from_bytes(buffer[:_LENGTH], "little")
            if len(buffer) < end:
                return
            body = bytes(buffer[_LENGTH:end])
            del buffer[:end]
            yield self._decoder.decode(body)


def controller_reader() -> Reader[FromWorker]:
    """A reader of what workers send."""
    return Reader(msgspec.msgpack.Decoder(FromWorker))


class Line:
    """The worker's end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader: Reader[ToWorker] = Reader(msgspec.msgpack.Decoder(ToWorker))
        self._ready: deque[ToWorker] = deque()

    def send(self, message: FromWorker) -> None:
        self._socket.sendall(frame(message))

    def receive(self) -> ToWorker:
        """The next message, however long it takes. Raises EOFError when the controller is gone."""
        while not self._ready:
            self._take(self._socket.recv(1 << 16))
        return self._ready.popleft()

    def poll(self, wait_s: float = 0.0) -> ToWorker | None:
        """The next message if it comes within `wait_s`. Raises EOFError when the controller is gone."""
        if not self._ready and select([self._socket], [], [], wait_s)[0]:
            self._take(self._socket.recv(1 << 16))
        return self._ready.popleft() if self._ready else None

    def _take(self, data: bytes) -> None:
        if not data:
            raise EOFError("the controller has closed the line")
        self._ready.extend(self._reader.feed(data))
