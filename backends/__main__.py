"""`python -m backends`: one demo backend, until SIGTERM or SIGINT.

Its first line on stdout is JSON, `{"name", "zone", "host", "port", "pid"}`, printed once it accepts
connections, so that whoever asked for port 0 learns the port. A signal stops it: nothing new is accepted, what runs is
finished, exit 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from backends.answers import Backend

# Longer than the balancer keeps an idle connection: which side closes first must not be a matter of luck.
KEEP_ALIVE = 75.0
# Requests that still run after this many seconds of stopping are cut; Docker kills after ten.
STOP_TIMEOUT = 8.0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m backends", description="A demo backend for the balancer.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get("PORT", "8000")), help="0 lets the system choose"
    )
    parser.add_argument("--name", default=socket.gethostname(), help="what it calls itself (default: the host name)")
    parser.add_argument("--zone", default=os.environ.get("ZONE", ""), help="the zone it says it is in (default: $ZONE)")
    return parser.parse_args(arguments)


async def serve(host: str, port: int, name: str, zone: str) -> None:
    """Serve until a signal asks to stop."""
    backend = Backend(name, zone)
    server = web.Server(
        backend.serve,
        handler_cancellation=True,
        keepalive_timeout=KEEP_ALIVE,
        access_log=None,
        auto_decompress=False,
        max_line_size=64 * 1024,
        max_field_size=64 * 1024,
        max_headers=1024,
    )
    runner = web.ServerRunner(server, shutdown_timeout=STOP_TIMEOUT)
    await runner.setup()
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    await web.TCPSite(runner, host, port, backlog=1024).start()
    bound = runner.addresses[0][1]
    print(json.dumps({"name": name, "zone": zone, "host": host, "port": bound, "pid": os.getpid()}), flush=True)
    await asked_to_stop.wait()
    await backend.stop()
    await runner.cleanup()


def _runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def main() -> int:
    """Run one backend with the options of the command line; return the exit code."""
    options = _options(sys.argv[1:])
    try:
        _runner()(serve(options.host, options.port, options.name, options.zone))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        print(f"{options.host}:{options.port}: cannot listen: {why} (choose another --port)", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
