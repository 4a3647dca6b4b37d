"""tcp probe: does the target accept a connection."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from balancer.control.probes.job import Job, Seen, failed
from balancer.model.names import ProbeResult

_WELL = Seen(ProbeResult.OK)
_UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY)


async def probe(job: Job) -> Seen:
    """Connect and close again, within the check's timeout. Raises LocalTrouble.

    No stream, no transport and no task are made for it: two thousand a second are usual where targets are many.
    """
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in job.ip else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        return failed(error)
    try:
        sock.setblocking(False)
        address = job.ip, job.port
        number = sock.connect_ex(address)
        if number == errno.EINPROGRESS:  # asked again: to this machine, or over a bridge of it, it stands by now
            number = sock.connect_ex(address)
        if number in _UNDER_WAY:
            number = await _outcome(sock, job.check.timeout)
    except OSError as error:
        return failed(error)
    finally:
        sock.close()
    return failed(OSError(number, os.strerror(number))) if number else _WELL


async def _outcome(sock: socket.socket, timeout: float) -> int:
    """Return the error number of a connect that is under way, 0 for none; raises TimeoutError."""
    loop = asyncio.get_running_loop()
    stands: asyncio.Future[None] = loop.create_future()
    expiry = loop.call_later(timeout, _expire, stands)
    loop.add_writer(sock, _stand, stands)
    try:
        await stands
    finally:
        loop.remove_writer(sock)
        expiry.cancel()
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _stand(stands: asyncio.Future[None]) -> None:
    if not stands.done():
        stands.set_result(None)


def _expire(stands: asyncio.Future[None]) -> None:
    if not stands.done():
        stands.set_exception(TimeoutError())
