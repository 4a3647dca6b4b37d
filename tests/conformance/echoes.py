"""The upstreams of the suites: an echo of bodies under any method, and a WebSocket echo, each in its process.

`python -m tests.conformance.echoes web PORT` or `… socket PORT`.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def _serve_web(port: int) -> None:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", _echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


async def _say_again(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _serve_socket(port: int) -> None:
    async with serve(_say_again, "127.0.0.1", port, compression=None, max_size=None, ping_interval=None):
        await asyncio.Event().wait()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # what the suites send is nobody's fault here
    asyncio.run((_serve_web if sys.argv[1] == "web" else _serve_socket)(int(sys.argv[2])))
