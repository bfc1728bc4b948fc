"""The ranks of a group, each connected with each: what they agree by, and how they notice that one of them is gone.

Plain sockets on this machine's loopback, no torch: the runtime's own words go this way whatever the device is, and on
CPUs the tensors too. The lines of a process that ends close with it, so whoever waits for it is told
within milliseconds. A rank publishes the port at which it answers in a file of the group folder; of two ranks the
higher calls the lower, with the group's name, which only the processes of this server know.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from select import select

import msgspec

from sfumato.core.values import Group, Rank
from sfumato.models.group import GroupBroken

LOOPBACK = "127.0.0.1"
MOST_BYTES = 1 << 15  # what a socket takes at once, so that all may send before any receives
_LENGTH = 4
_LOOK_EVERY_S = 0.005
_HELLO_S = 5.0


class Mesh:
    """The lines from one member of a group to all others. Every call raises GroupBroken where a member is gone."""

    def __init__(self, rank: int, lines: Sequence[socket.socket | None]) -> None:
        """`lines` has one entry a member, None for this one."""
        self.rank = rank
        self.size = len(lines)
        self._lines = lines

    def broadcast(self, word: bytes, source: int = 0) -> bytes:
        """What member `source` says; nobody waits for all to have heard it."""
        if self.rank != source:
            return self._hear(source)
        for other in self._others():
            self._say(other, word)
        return word

    def gather(self, word: bytes) -> list[bytes]:
        """What each member says, in their order."""
        return self.exchange([word] * self.size)

    def exchange(self, words: Sequence[bytes]) -> list[bytes]:
        """Word i goes to member i; returns what each member had for this one."""
        for other in self._others():
            self._say(other, words[other])
        return [words[other] if other == self.rank else self._hear(other) for other in range(self.size)]

    def swap(self, give: Sequence[memoryview], take: Sequence[memoryview]) -> None:
        """`give[i]` goes to member i, `take[i]` is filled by what it gives: any number of bytes, the same for all.

        What sockets do not take at once goes in turns of two, of whom the lower gives first: nobody waits in a circle.
        """
        take[self.rank][:] = give[self.rank]
        if max(map(len, give)) <= MOST_BYTES:
            for other in self._others():
                self._give(other, give[other])
            for other in self._others():
                self._take(other, take[other])
            return
        for turn in range(self.size):
            other = (turn - self.rank) % self.size
            for moves in (self.rank < other, self.rank > other) if other != self.rank else ():
                if moves:
                    self._give(other, give[other])
                else:
                    self._take(other, take[other])

    def shift(self, give: memoryview, take: memoryview, by: int) -> None:
        """`give` goes `by` members on, counted round, to another; `take` is filled by the member as far before. In
        pieces that a socket takes at once: who cannot send is ahead of the next, and in a circle not all can be.
        """
        for begin in range(0, len(give), MOST_BYTES):
            self._give((self.rank + by) % self.size, give[begin : begin + MOST_BYTES])
            self._take((self.rank - by) % self.size, take[begin : begin + MOST_BYTES])

    def spread(self, data: memoryview, source: int) -> None:
        """Fill `data` with that of member `source`."""
        if self.rank != source:
            self._take(source, data)
            return
        for other in self._others():
            self._give(other, data)

    def part(self, members: Sequence[int]) -> Mesh:
        """The same lines as a mesh of some of the members, this one among them."""
        return Mesh(members.index(self.rank), [self._lines[member] for member in members])

    def close(self) -> None:
        """Whoever still waits for this member is told. Safe to call twice."""
        for line in self._lines:
            if line is not None:
                line.close()

    def _others(self) -> Iterable[int]:
        return (other for other in range(self.size) if other != self.rank)

    def _say(self, member: int, word: bytes) -> None:
        assert len(word) <= MOST_BYTES, "tensors are swapped"
        self._give(member, _framed(word))

    def _give(self, member: int, data: bytes | memoryview) -> None:
        try:
            self._line(member).sendall(data)
        except OSError as error:
            raise GroupBroken(f"member {member} is gone: {error}") from error

    def _take(self, member: int, data: memoryview) -> None:
        line, filled = self._line(member), 0
        try:
            while filled < len(data):
                more = line.recv_into(data[filled:])
                if not more:
                    raise ConnectionError("the line has ended")
                filled += more
        except OSError as error:
            raise GroupBroken(f"member {member} is gone: {error}") from error

    def _hear(self, member: int) -> bytes:
        try:
            return _word(self._line(member))
        except OSError as error:
            raise GroupBroken(f"member {member} is gone: {error}") from error

    def _line(self, member: int) -> socket.socket:
        line = self._lines[member]
        assert line is not None
        return line


class Door:
    """Where the other ranks call this one."""

    def __init__(self, folder: Path, rank: Rank, patience_s: float) -> None:
        """`patience_s`: how long a member may keep the others waiting once the group is there."""
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._rank = rank
        self._patience_s = patience_s
        self._socket = socket.create_server((LOOPBACK, 0), backlog=64)
        self._callers: dict[tuple[str, int], socket.socket] = {}  # (group, member): who came before we asked
        aside = folder / f"{rank}.port.tmp"
        aside.write_text(str(self._socket.getsockname()[1]))
        aside.rename(folder / f"{rank}.port")

    def meet(self, group: str, ranks: Group, given_up: Callable[[], bool]) -> Mesh:
        """The mesh of a group, once all its ranks have asked for it. Raises GroupBroken when it is `given_up`."""
        own = ranks.index(self._rank)
        lines: list[socket.socket | None] = [None] * len(ranks)
        mesh = Mesh(own, lines)
        try:
            for member in range(own):
                lines[member] = self._call(ranks[member], group, own, given_up)
            for member in range(own + 1, len(ranks)):
                lines[member] = self._answer(group, member, given_up)
            mesh.gather(b"")  # a line may be there before its member is: now they all are
        except BaseException:
            mesh.close()
            raise
        return mesh

    def close(self) -> None:
        """Nobody answers from now on."""
        for line in (self._socket, *self._callers.values()):
            line.close()

    def _call(self, rank: Rank, group: str, own: int, given_up: Callable[[], bool]) -> socket.socket:
        while True:
            with suppress(OSError, ValueError):  # not there yet, or dead and its successor is not there yet
                port = int((self._folder / f"{rank}.port").read_text())
                line = socket.create_connection((LOOPBACK, port), timeout=self._patience_s)
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line.sendall(_framed(msgspec.msgpack.encode((group, own))))
                return line
            _go_on(given_up, rank)
            time.sleep(_LOOK_EVERY_S)

    def _answer(self, group: str, member: int, given_up: Callable[[], bool]) -> socket.socket:
        while (line := self._callers.pop((group, member), None)) is None:
            if select([self._socket], [], [], _LOOK_EVERY_S)[0]:
                self._open()
            else:
                _go_on(given_up, member)
        return line

    def _open(self) -> None:
        """Let one caller in."""
        try:
            line, _ = self._socket.accept()
        except OSError:
            return  # it has hung up already
        try:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.settimeout(_HELLO_S)
            group, member = msgspec.msgpack.decode(_word(line), type=tuple[str, int])
            line.settimeout(self._patience_s)
        except (OSError, msgspec.DecodeError):
            line.close()  # dead already, or not one of ours
            return
        for key in [key for key, waiting in self._callers.items() if _closed(waiting)]:
            self._callers.pop(key).close()
        self._callers[group, member] = line


def _go_on(given_up: Callable[[], bool], whom: int) -> None:
    """Raise GroupBroken unless it is still worth waiting."""
    if given_up():
        raise GroupBroken(f"given up while {whom} was awaited")


def _closed(line: socket.socket) -> bool:
    """Whether a caller has hung up while nobody answered."""
    try:
        return not line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _framed(word: bytes) -> bytes:
    return len(word).to_bytes(_LENGTH, "little") + word


def _word(line: socket.socket) -> bytes:
    length = int.from_bytes(_exactly(line, _LENGTH), "little")
    if length > MOST_BYTES:
        raise ConnectionError("this is not one of ours")
    return _exactly(line, length)


def _exactly(line: socket.socket, count: int) -> bytes:
    """So many bytes. Raises OSError when the line ends or is silent for too long."""
    data = bytearray()
    while len(data) < count:
        more = line.recv(min(count - len(data), MOST_BYTES))
        if not more:
            raise ConnectionError("the line has ended")
        data += more
    return bytes(data)
