"""changes: what every request that changes something gets, whoever answers it: `If-Match`, and a line in the log.

The line says who (address, or user of a unix socket; with the token or without), what, and how it ended; refused
attempts are warnings, at most ten a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from aiohttp import web

from balancer.control import log
from balancer.control.admin import address, door, guard, problems, tags
from balancer.control.facts import Key
from balancer.control.loop import Control
from balancer.control.reload import Reload

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CHANGED = "balancer_changed"
_READ_WITH_TAG = frozenset({"/api/v1/config", "/api/v1/status"})


class Changes:
    """Guards the writes of one admin server."""

    def __init__(self, control: Control, reload: Reload) -> None:
        self._control = control
        self._reload = reload
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        """Return the handler's answer with the tag of what it is about, or 412 where it has changed since."""
        lines = request.headers.getall("If-Match", ()) if self._conditional(request) else ()
        if_match = ", ".join(lines) if lines else None  # several lines are one list. Source: RFC 9110 section 5.3
        # Nothing may come between the look and the change, which may take time: but only for those who look.
        async with self._one_at_a_time if if_match is not None else contextlib.nullcontext():
            try:
                if tags.stale(if_match, self._tag(request)):
                    answer: web.StreamResponse = problems.answer(412, "it has changed since; read it again")
                else:
                    answer = await handler(request)
            except tags.Unreadable as error:
                return problems.answer(400, str(error))
        if self._tagged(request) and answer.status in (200, 412):
            answer.headers["ETag"] = self._tag(request)
        return answer

    def _conditional(self, request: web.Request) -> bool:
        """Whether If-Match counts: not where nothing would be changed anyway. Source: RFC 9110 section 13.2.1."""
        if request.method in guard.SAFE or request.match_info.http_exception is not None:
            return False
        return "target" not in request.match_info or self._key(request) in self._control.ledger.records

    @staticmethod
    def _key(request: web.Request) -> Key:
        return request.match_info.get("group", ""), request.match_info["target"]

    @staticmethod
    def _tagged(request: web.Request) -> bool:
        return request.method not in guard.SAFE or "target" in request.match_info or request.path in _READ_WITH_TAG

    def _tag(self, request: web.Request) -> str:
        running, ledger = self._control.running, self._control.ledger
        version = running.version if running is not None else 0
        if "target" not in request.match_info:
            drilled = sorted(
                {(one.group.name, one.target.zone) for one in ledger.records.values() if ledger.drilled(one)}
            )
            return tags.tag(version, self._reload.hash, drilled)
        key = self._key(request)
        record = ledger.records.get(key)
        if record is None:
            return tags.tag(version, key)
        return tags.tag(version, key, record.target.address, record.order, ledger.drilled(record))

    @staticmethod
    def told(request: web.Request, answer: web.StreamResponse, who: str, *, by_token: bool) -> None:
        """Say in the log who changed what, and how that ended."""
        if request.method in guard.SAFE:
            return
        what = f"{request.method} {request.path}"
        if answer.status in (401, 403, 412):
            line = "admin change was refused from=%s request=%s status=%d"
            door.LOG.warning(line, log.quoted(who), log.quoted(what), answer.status)
        else:
            told = {"from": who, "by": "token" if by_token else None, "request": what, "status": answer.status}
            if answer.status >= 400:
                log.info("admin change was asked for", **told)
            elif request.get(_CHANGED, True):
                log.info("admin change was made", **told)
            else:
                log.info("admin change was asked for, nothing changed", **told)


def changes_nothing(request: web.Request) -> None:
    """Take note that a write was answered well, but there was nothing to change."""
    request[_CHANGED] = False


def who(request: web.Request) -> str:
    """Return who asks, as long as the connection is there."""
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    try:
        return address.peer(sock) if sock is not None else "gone"
    except OSError:
        return "gone"
