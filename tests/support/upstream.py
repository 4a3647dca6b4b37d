"""Upstream: a listening socket with a thread for each connection; what recorder and hostile peers are built on."""

from __future__ import annotations

import contextlib
import socket
import threading
import traceback
from typing import Self

from tests.support.stream import Stream
from tests.support.waiting import wait_for


class Upstream:
    """Listens on an ephemeral port of `host` from construction on; `serve` runs once per connection, in its thread."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, timeout: float = 30.0) -> None:
        self.timeout = timeout
        self.listener = socket.create_server((host, port), backlog=1024)
        self.host, self.port = self.listener.getsockname()[:2]
        self.lock = threading.Lock()
        self.open: dict[int, Stream] = {}
        self.accepted = 0
        self.errors: list[str] = []
        self._closing = threading.Event()
        threading.Thread(target=self._accept, name=f"upstream {self.port}", daemon=True).start()

    def serve(self, stream: Stream, number: int) -> None:
        """Handle connection `number` (from 0); the stream is closed afterwards."""
        raise AssertionError("a subclass says what it serves")

    @property
    def address(self) -> str:
        """`host:port`, as the configuration writes it."""
        return f"{self.host}:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                number, self.accepted = self.accepted, self.accepted + 1
                stream = self.open[number] = Stream(sock, self.timeout)
            threading.Thread(target=self._run, args=(stream, number), daemon=True).start()

    def _run(self, stream: Stream, number: int) -> None:
        try:
            self.serve(stream, number)
        except (OSError, ValueError):
            if not self._closing.is_set():
                self.trouble(stream, number)
        except Exception:
            self.errors.append(traceback.format_exc())
        finally:
            with self.lock:
                self.open.pop(number, None)
            stream.close()

    def trouble(self, stream: Stream, number: int) -> None:
        """The connection broke while `serve` was at work; nothing to do unless a subclass keeps count."""

    def stop_listening(self) -> None:
        """Refuse new connections from now on; those that exist go on."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def close_connections(self, within: float = 5.0) -> None:
        """Send FIN on every connection and wait until each of them is gone on this side."""
        with self.lock:
            streams = list(self.open.values())
        for stream in streams:
            with contextlib.suppress(OSError):
                stream.sock.shutdown(socket.SHUT_WR)
        wait_for(lambda: not any(one in self.open.values() for one in streams), within, "the balancer closes after FIN")

    def close(self) -> None:
        """Stop at once."""
        self._closing.set()
        self.stop_listening()
        with self.lock:
            streams = list(self.open.values())
        for stream in streams:
            with contextlib.suppress(OSError):
                stream.sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        assert not self.errors, self.errors[0]
