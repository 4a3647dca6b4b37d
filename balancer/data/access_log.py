"""The access log: one JSON object a finished request, written by a thread that drops and counts rather than blocks.

Each file has its own thread: after a reload to another path the old one, if nobody reads it, stops nothing. Workers
share one descriptor. Lines leave in pieces of at most `PIPE_BUF` bytes that end at a line's end, so that lines of two
workers never mix in a pipe.
"""

from __future__ import annotations

import os
import queue
import select
import stat
import threading
import time
from json.encoder import encode_basestring_ascii as quote
from pathlib import Path

__all__ = ["AccessLog", "Clock", "path_text", "quote"]

MAX_PENDING = 8 * 1024 * 1024  # bytes that wait for a reader who has stopped
MAX_PATH = 1500  # characters of a path that are shown
BATCH = 512  # lines that leave without waiting for the clock
LOOK = 1.0  # s between two looks whether the file was moved away
PATIENCE = 2.0  # s until what could not be opened is tried again, and until one that nobody reads is given up
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class Clock:
    """RFC 3339 in UTC with milliseconds; the text of a second, and of a millisecond, is made once."""

    __slots__ = ("_millisecond", "_second", "_shown", "_text")

    def __init__(self) -> None:
        self._second = self._millisecond = -1
        self._text = self._shown = ""

    def text(self, wall: float) -> str:
        """Return the time of `wall` (seconds since 1970)."""
        millisecond = int(wall * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._second = second
                self._text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._shown = f"{self._text}{rest:03d}Z"
        return self._shown


def path_text(path: str) -> str:
    """Return a path as a JSON string, cut where it is too long for a line."""
    return quote(path if len(path) <= MAX_PATH else path[:MAX_PATH] + "…")


class AccessLog:
    """Where a worker's lines go. `enabled` False: nobody should even format a line."""

    def __init__(self) -> None:
        self.enabled = False
        self.missing = ""  # the path that is to be written to and could not be opened
        self._again_at = 0.0
        self._path = ""
        self._lines: list[str] = []
        self._writer: _Writer | None = None
        self._leaving: list[_Writer] = []  # they write what they have of a path that is no longer written to
        self._not_taken = 0  # lines

    @property
    def dropped(self) -> int:
        """Lines that were lost: nobody read them, or they could not be written."""
        lost = self._not_taken + sum(writer.lost for writer in self._leaving)
        return lost if self._writer is None else lost + self._writer.lost

    def open(self, path: str) -> None:
        """Write to `path` from now on ("-": stdout, "": nowhere).

        Raises OSError: what is written to stays, `open_again` tries again; lines that then have no place are lost ones.
        """
        missing, self.missing = self.missing, ""
        if path == self._path:
            self.enabled = self._writer is not None if missing else self.enabled
            return
        descriptor = -1
        if path == "-":
            descriptor = 1
        elif path:
            try:
                descriptor = _open(path)
            except OSError:
                self.missing, self.enabled = path, True
                raise
        self.flush()
        if self._writer is not None:
            self._writer.finish(time.monotonic())
            self._leaving.append(self._writer)
        self._path, self.enabled = path, descriptor >= 0
        self._writer = _Writer(descriptor, path) if self.enabled else None

    def open_again(self, now: float) -> bool:
        """Try what could not be opened, every `PATIENCE` seconds; return True once it is open. Called by the clock."""
        if not self.missing or now < self._again_at:
            return False
        self._again_at = now + PATIENCE
        try:
            self.open(self.missing)
        except OSError:
            return False
        return True

    def write(self, line: str) -> None:
        """Take one line (with its newline). hot: +0.1 µs."""
        self._lines.append(line)
        if len(self._lines) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand what was taken to the writing thread; called by the worker's clock."""
        if self._leaving:
            self._look(time.monotonic())
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        if self._writer is None or self._writer.pending > MAX_PENDING:
            self._not_taken += len(lines)
        else:
            self._writer.put("".join(lines).encode("utf-8", "replace"), len(lines))

    def _look(self, now: float) -> None:
        """Leave those that are through, or do not get on: their lines that are not written are lost."""
        for writer in [one for one in self._leaving if one.is_over(now)]:
            self._leaving.remove(writer)
            self._not_taken += writer.give_up()

    def close(self, timeout: float) -> None:
        """Wait until everything is written, at most `timeout` seconds."""
        self.flush()
        end = time.monotonic() + timeout
        if self._writer is not None:
            self._writer.finish(end)
        for writer in (*self._leaving, self._writer):
            if writer is not None:
                writer.thread.join(max(0.0, end - time.monotonic()))


class _Writer:
    """The thread that writes to one path: one that nobody reads stops no other."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # Each of these is written by one thread alone: an addition that two threads make can be lost.
        self._taken = self._taken_lines = 0  # the worker's
        self._done = self._written = self.lost = 0  # bytes, lines, lines: the writing thread's
        self._given_up = False
        self._seen = 0  # how many lines were written when it was last looked whether it gets on
        self._until = 0.0
        self.thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self.thread.start()

    @property
    def pending(self) -> int:
        """Bytes that wait to be written."""
        return self._taken - self._done

    def put(self, data: bytes, lines: int) -> None:
        self._taken += len(data)
        self._taken_lines += lines
        self._queue.put(data)

    def finish(self, now: float) -> None:
        """End, and close the descriptor, once what waits is written."""
        self._until = now + PATIENCE
        self._queue.put(b"")

    def is_over(self, now: float) -> bool:
        """Return whether it has ended, or has written nothing for `PATIENCE` seconds since it was to finish."""
        written = self._written + self.lost
        if written != self._seen:
            self._seen, self._until = written, now + PATIENCE
        return now >= self._until or not self.thread.is_alive()

    def give_up(self) -> int:
        """Write no more; return how many lines are lost, those included that it could not write before."""
        self._given_up = True
        lost = self._taken_lines - self._written
        try:
            while self.thread.is_alive():  # what waits is held for nobody
                self._queue.get_nowait()
        except queue.Empty:
            pass
        self._queue.put(b"")  # its end may have been among it
        return lost

    def _run(self) -> None:
        descriptor, looked = self._descriptor, time.monotonic()
        while True:
            data = self._queue.get()
            if not data:
                break
            if descriptor > 2 and time.monotonic() - looked >= LOOK:
                descriptor, looked = _at(self._path, descriptor), time.monotonic()
            for piece in _pieces(data) if _is_pipe(descriptor) else (data,):
                if self._given_up:
                    break
                lines = piece.count(b"\n")
                if _write(descriptor, piece):
                    self._written += lines
                else:
                    self.lost += lines
            self._done += len(data)
        if descriptor > 2:
            os.close(descriptor)


def _at(path: str, descriptor: int) -> int:
    """Return a descriptor of the file that is at a path now: another one where it was moved away, or removed."""
    try:
        here = os.fstat(descriptor)
        if not stat.S_ISREG(here.st_mode):
            return descriptor
        try:
            if os.path.samestat(here, Path(path).stat()):
                return descriptor
        except FileNotFoundError:
            pass  # it is made anew
        fresh = _open(path)
    except OSError:  # what there is can still be written to
        return descriptor
    os.close(descriptor)
    return fresh


def _is_pipe(descriptor: int) -> bool:
    """Return whether a write of more than PIPE_BUF bytes may mix with another worker's; a file's does not."""
    try:
        return not stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return True


def _open(path: str) -> int:
    """Return a descriptor that blocks. The opening does not: a named pipe that nobody reads is an OSError (ENXIO)."""
    descriptor = os.open(path, _FLAGS, 0o640)
    os.set_blocking(descriptor, True)
    return descriptor


def _pieces(data: bytes) -> list[bytes]:
    """Return `data` cut at line ends into pieces of at most PIPE_BUF bytes (a longer line is a piece of its own)."""
    pieces, start = [], 0
    while len(data) - start > select.PIPE_BUF:
        end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1
        if not end:
            end = data.find(b"\n", start) + 1 or len(data)
        pieces.append(data[start:end])
        start = end
    if start < len(data):
        pieces.append(data[start:])
    return pieces


def _write(descriptor: int, piece: bytes) -> bool:
    while piece:
        try:
            piece = piece[os.write(descriptor, piece) :]
        except BlockingIOError:  # somebody made the shared descriptor non-blocking
            select.select([], [descriptor], [])
        except OSError:  # disk full, reader gone
            return False
    return True
