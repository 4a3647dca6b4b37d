"""tcp probe: does the target accept a connection."""

from __future__ import annotations

import asyncio

from balancer.control.probes.job import Job, Seen, failed
from balancer.model.names import ProbeResult


async def probe(job: Job) -> Seen:
    """Connect and close again, within the check's timeout. Raises LocalTrouble."""
    try:
        async with asyncio.timeout(job.check.timeout):
            _, writer = await asyncio.open_connection(job.ip, job.port)
    except OSError as error:
        return failed(error)
    writer.close()
    return Seen(ProbeResult.OK)
