"""explained: what the admin API answers on requests.

The board is read in a thread beside control's loop: it may hold the requests of 64 workers, and whoever sends requests
can make their ids costly to find.
"""

from __future__ import annotations

import asyncio
from time import time as wall
from typing import Any

from balancer.control.admin.views import time
from balancer.control.explain import look
from balancer.control.explain.names import Names
from balancer.control.explain.story import line, story
from balancer.control.look import names as host_names
from balancer.control.loop import Control
from balancer.model.snapshot import Snapshot

Json = dict[str, Any]


async def explain(control: Control, request_id: str) -> Json | None:
    """Return why a request went where it went; None if it is not among the last ones."""
    running = control.running or Snapshot()
    found = await asyncio.to_thread(look.find, control.board, running.workers, request_id)
    if found is None:
        return None
    names = Names(running.slots, control.zones)
    states = {
        (key, one.state, int(one.since.monotonic * 1000)): f"{one.reason}: {one.detail}" if one.detail else one.reason
        for key, one in control.ledger.records.items()
    }
    lost: dict[str, list[str]] = {}
    for one in host_names(control):
        if one.error:
            lost.setdefault(one.group, []).append(f"its name {one.dns} does not resolve ({one.error})")
    unresolved = {group: ", ".join(told) for group, told in lost.items()}
    version = control.versions.of(found.record.version)
    return story(found, names, version, running, states, time, wall(), unresolved)


async def latest(control: Control, limit: int, *, failed: bool) -> Json:
    """Return the last requests, newest first."""
    running = control.running or Snapshot()
    names = Names(running.slots, control.zones)
    found = await asyncio.to_thread(look.latest, control.board, running.workers, limit, failed=failed)
    return {"requests": [line(one.record, names, time) for one in found], "kept": await _kept(control)}


async def unknown(control: Control, request_id: str) -> str:
    """Return the sentence on a request that is not known."""
    kept = await asyncio.to_thread(look.kept, control.board, (control.running or Snapshot()).workers)
    if not kept.recent:
        return f"{request_id[:128]!r} is not known: no request has been finished yet"
    oldest = f"the oldest kept is from {time(kept.oldest)}"
    if kept.failed:
        oldest += f", the oldest failed one from {time(kept.oldest_failed)}"
    return (
        f"{request_id[:128]!r} is not among the last {kept.recent} requests and the last {kept.failed} failed ones; "
        f"{oldest} (the id is in X-Request-ID of the answer and in the access log)"
    )


async def _kept(control: Control) -> Json:
    kept = await asyncio.to_thread(look.kept, control.board, (control.running or Snapshot()).workers)
    return {
        "recent": kept.recent,
        "failed": kept.failed,
        "lost": kept.lost,
        "oldest_at": time(kept.oldest),
        "oldest_failed_at": time(kept.oldest_failed),
    }
