"""One end of a socket pair between two processes: messages as packets, descriptors travelling along.

    send ──> kernel queue (10 packets or so) ──> receive          `SOCK_SEQPACKET`, so that a packet is a message
      └─> waiting (at most 256), when the kernel's is full        and descriptors stay with theirs

Rules
1. `send` never waits. What finds no room is dropped and counted: the peer is stuck and will be replaced.
2. A sender keeps its descriptors (those that wait are duplicates); a receiver owns what it gets and closes it.
3. One core, two shells: `attach` for an event loop, `receive` / `flush` / `fileno` for a selector or for waiting.
"""

from __future__ import annotations

import array
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from balancer.link.messages import LIMIT, BadMessage, Message, decode, encode

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

MAX_DESCRIPTORS = 250  # a packet; the kernel's own limit is 253
QUEUE = 256  # messages that wait for a slow peer
_BURST = 32  # messages read before others have their turn

Received = tuple[Message, list[int]]


class Ended(Exception):
    """The other end is closed: its process is gone, or wants us to go."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets, each fit for a Channel; neither is inherited by accident."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors that nobody wants."""
    for descriptor in descriptors:
        os.close(descriptor)


def _duplicates(descriptors: Iterable[int]) -> list[int]:
    copies: list[int] = []
    try:
        for descriptor in descriptors:
            copies.append(os.dup(descriptor))  # noqa: PERF401 (those made so far are to be closed)
    except OSError:
        close_all(copies)
        raise
    return copies


class Channel:
    """One end. `dropped` counts messages that found no room, `garbled` packets that were no message."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected `SOCK_SEQPACKET` socket."""
        sock.setblocking(False)
        self.dropped = 0
        self.garbled = 0
        self._sock = sock
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._loop: AbstractEventLoop | None = None
        self._on_message: Callable[[Message, list[int]], None] | None = None
        self._on_end: Callable[[], None] | None = None
        self._writer_armed = False

    # The core

    def fileno(self) -> int:
        """Return the descriptor to wait for; -1 once closed."""
        return self._sock.fileno()

    @property
    def waiting(self) -> int:
        """Return how many messages wait for room; while there are any, call `flush` when the socket is writable."""
        return len(self._waiting)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """Send now, or as soon as there is room; return False if it was dropped. Never waits.

        Raises BadMessage for an unknown kind, a message that is too large, or too many descriptors.
        """
        packet = encode(message)
        if len(descriptors) > MAX_DESCRIPTORS:
            raise BadMessage(
                f"message {message['is']!r} with {len(descriptors)} descriptors (at most {MAX_DESCRIPTORS})"
            )
        if self._sock.fileno() < 0:
            self.dropped += 1
            return False
        if not self._waiting:
            sent = self._transmit(packet, descriptors)
            if sent is not None:
                return sent
        if len(self._waiting) >= QUEUE:
            self.dropped += 1
            return False
        try:
            copies = _duplicates(descriptors)
        except OSError:  # our own descriptor limit is reached
            self.dropped += 1
            return False
        self._waiting.append((packet, copies))
        self._arm_writer()
        return True

    def flush(self) -> bool:
        """Send what waits as far as there is room; return True when nothing waits any more."""
        while self._waiting:
            packet, descriptors = self._waiting[0]
            if self._transmit(packet, descriptors) is None:
                return False
            self._waiting.popleft()
            close_all(descriptors)
        return True

    def _transmit(self, packet: bytes, descriptors: Sequence[int]) -> bool | None:
        """Return True when sent, False when it never will be, None when there is no room now."""
        try:
            socket.send_fds(self._sock, [packet], list(descriptors), socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return None
        except OSError:  # the peer is gone (its end shows when reading), or too many descriptors are under way
            self.dropped += 1
            return False
        return True

    def receive(self) -> Received | None:
        """Return the next message and its descriptors, None if there is none now; Ended if none can come."""
        while True:
            try:
                packet, descriptors, flags = self._read()
            except BlockingIOError:
                return None
            except OSError as error:
                raise Ended(str(error)) from error
            if not packet:
                close_all(descriptors)
                raise Ended("closed by the other end")
            message = self._message(packet, flags)
            if message is not None:
                return message, descriptors
            self.garbled += 1
            close_all(descriptors)

    @staticmethod
    def _message(packet: bytes, flags: int) -> Message | None:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):  # CTRUNC: our own descriptor limit is reached
            return None
        try:
            return decode(packet)
        except BadMessage:
            return None

    def _read(self) -> tuple[bytes, list[int], int]:
        descriptors = array.array("i")
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * descriptors.itemsize)
        # Not socket.recv_fds: without MSG_CMSG_CLOEXEC what arrives would leak into processes that we start.
        packet, ancillary, flags, _ = self._sock.recvmsg(LIMIT + 1, room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        return packet, list(descriptors), flags

    def wait(self, timeout: float) -> Received:
        """Block until a message comes; TimeoutError after `timeout` seconds, Ended if none can come."""
        end = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while (received := self.receive()) is None:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no message within {timeout} s")
            poll.poll(left * 1000)
        return received

    def end(self) -> None:
        """Say nothing any more: the other end sees the end after all that was sent; what it says can still be read."""
        self._discard()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it was gone already

    def close(self) -> None:
        """Close this end, and the descriptors of messages that still waited."""
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
            if self._writer_armed:
                self._loop.remove_writer(self._sock.fileno())
            self._loop = None
        self._discard()
        self._sock.close()

    def _discard(self) -> None:
        self.dropped += len(self._waiting)
        while self._waiting:
            close_all(self._waiting.popleft()[1])

    # The shell for an event loop

    def attach(
        self,
        loop: AbstractEventLoop,
        on_message: Callable[[Message, list[int]], None],
        on_end: Callable[[], None],
    ) -> None:
        """Call `on_message(message, descriptors)` for each message (the descriptors become yours), `on_end()` once.

        When `on_end` is called the channel is closed already. Works on asyncio's loops and on uvloop.
        """
        self._loop, self._on_message, self._on_end = loop, on_message, on_end
        loop.add_reader(self._sock.fileno(), self._readable)
        self._arm_writer()

    def _readable(self) -> None:
        for _ in range(_BURST):
            if self._loop is None or self._on_message is None or self._on_end is None:
                return  # closed by the message before
            try:
                received = self.receive()
            except Ended:
                self.close()
                self._on_end()
                return
            if received is None:
                return
            self._on_message(*received)

    def _arm_writer(self) -> None:
        if self._loop is not None and self._waiting and not self._writer_armed:
            self._loop.add_writer(self._sock.fileno(), self._writable)
            self._writer_armed = True

    def _writable(self) -> None:
        if self.flush() and self._loop is not None:
            self._loop.remove_writer(self._sock.fileno())
            self._writer_armed = False
