"""`python -m bench.origin PORT`: a target that costs little: a short answer, or 256 KiB for /large; a body is read."""

from __future__ import annotations

import asyncio
import re
import resource
import sys
from typing import cast

SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n" + bytes(262144)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MARK = re.compile(rb"\r\nx-test-id: *([^\r]*)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.buffer = b""
        self.left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.left:
            taken = min(self.left, len(data))
            self.left -= taken
            data = data[taken:]
            if self.left:
                return
            self.transport.write(SMALL)
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n") + 4) > 3:
            head, self.buffer = self.buffer[:end], self.buffer[end:]
            found = LENGTH.search(head)
            length = int(found[1]) if found else 0
            taken = min(length, len(self.buffer))
            self.left, self.buffer = length - taken, self.buffer[taken:]
            if not self.left:
                mark = MARK.search(head)
                small = SMALL.replace(b"\r\n\r\n", b"\r\nX-Echo-Id: %b\r\n\r\n" % mark[1]) if mark else SMALL
                self.transport.write(LARGE if head.startswith(b"GET /large") else small)


async def serve(port: int) -> None:
    """Serve for ever."""
    await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    asyncio.run(serve(int(sys.argv[1])))  # which, unlike uvloop, accepts all that wait at once
