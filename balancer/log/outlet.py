"""outlet: a bounded queue before stderr and the thread that empties it, so that nobody ever waits for a reader.

Whoever reads a container's log may stop; a write to the full pipe then blocks the whole process. Here it blocks a
thread, and what finds no room is dropped and counted.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

from balancer.log.limits import Limits
from balancer.log.line import line

STDERR = 2
MAX_PENDING = 512 * 1024  # bytes that wait for a reader who has stopped
LAST_WORDS = 0.5  # seconds without any progress after which the end of the process waits no longer
LONGEST_END = 3.0  # seconds that it waits in all


class Outlet:
    """Where the lines of a process go, in the order in which they come. Every method may be called from any thread."""

    def __init__(
        self, descriptor: int = STDERR, most: int = MAX_PENDING, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._descriptor = descriptor
        self._most = most
        self._clock = clock
        self._limits = Limits()
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._pending = 0  # bytes, those that are being written included
        self._dropped = 0  # lines
        self._ending = False
        self._thread: threading.Thread | None = None

    def put(self, text: str) -> None:
        """Take whole lines, with their ends; drop them when too much waits already. Never waits."""
        data = text.encode("utf-8", "backslashreplace")
        with self._changed:
            # Once it drops, it drops until half is free: one gap that is told rather than a hundred.
            if self._pending + len(data) > (self._most // 2 if self._dropped else self._most):
                self._dropped += 1
                return
            self._say_dropped()
            self._append(data)

    def admits(self, kind: str) -> bool:
        """Return whether a line of a kind that may come in floods should be put; what is not is counted and told."""
        with self._changed:
            admitted = self._limits.admits(kind, self._clock())
            if not admitted:
                self._changed.notify_all()
            return admitted

    def flush(self) -> None:
        """Wait until all is written, for as long as somebody reads and at most `LONGEST_END` seconds."""
        end = self._clock() + LONGEST_END
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            while self._thread is not None and (self._pending or self._dropped or self._limits.next() is not None):
                before = self._pending
                self._changed.wait(LAST_WORDS)
                if self._pending >= before > 0 or self._clock() > end:
                    break
            self._ending = False

    # With the lock held

    def _append(self, data: bytes) -> None:
        self._waiting.append(data)
        self._pending += len(data)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()
            atexit.register(self.flush)
        self._changed.notify_all()

    def _say_dropped(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._tell("log lines were dropped: nobody read them", count=dropped)

    def _say_suppressed(self) -> None:
        for kind, count in self._limits.over(float("inf") if self._ending else self._clock()):
            self._tell(f"suppressed {count} more lines like it", kind=kind)

    def _tell(self, event: str, **fields: object) -> None:
        self._append((line(time.time(), "WARNING", event, fields) + "\n").encode())

    # The thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._say_dropped()
                    self._say_suppressed()
                    if not self._waiting:
                        due = self._limits.next()
                        self._changed.wait(None if due is None else max(0.0, due - self._clock()))
                data = self._waiting.popleft()
            _write(self._descriptor, data)
            with self._changed:
                self._pending -= len(data)
                if not self._waiting:
                    self._changed.notify_all()


class Stream(io.TextIOBase):
    """Stands in for `sys.stderr`: what libraries and the interpreter print takes the same way, line by line."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._rest = ""

    def write(self, text: str) -> int:
        lines, end, self._rest = (self._rest + text).rpartition("\n")
        if end:
            self._outlet.put(lines + end)
        return len(text)

    def fileno(self) -> int:
        return STDERR

    def writable(self) -> bool:
        return True


def _write(descriptor: int, data: bytes) -> None:
    """Write everything, however long it takes; what cannot be written (the reader is gone) has nobody to be told to."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody made the shared descriptor non-blocking
            select.select([], [descriptor], [])
        except OSError:
            return


PROGRAM = Outlet()
"""The one of this process."""
