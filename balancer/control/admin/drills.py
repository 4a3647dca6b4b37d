"""drills: the routes by which the operator begins, stops and reads drills."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from balancer.control.admin import bodies, problems
from balancer.control.admin.changes import changes_nothing
from balancer.control.drill.course import Wish
from balancer.control.drill.driller import LONGEST, Driller, Refused
from balancer.model.meant import meant
from balancer.model.units import format_duration, parse_duration

_KEYS = frozenset({"zone", "group", "for", "before", "max_failures", "dry_run"})
_LONGEST_BEFORE = 60.0
_SHOWN = 128  # characters of what was sent that an answer repeats


class _BadRequest(Exception):
    """The body is no wish for a drill; the message says why."""


class Drills:
    """One method a route."""

    def __init__(self, driller: Driller) -> None:
        self._driller = driller

    async def drills(self, _request: web.Request) -> web.Response:
        return _json({"drills": self._driller.reports()})

    async def drill(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        found = self._find(name)
        return (
            _json(found)
            if found is not None
            else problems.answer(404, f"no drill {name!r} is kept (balancer drill --list names those that are)")
        )

    async def begin_drill(self, request: web.Request) -> web.Response:
        try:
            wish, dry_run = _wish(await request.read())
        except _BadRequest as bad:
            return problems.answer(400, str(bad))
        zones = self._driller.zones()
        if wish.zone not in zones:
            near = meant(wish.zone[:_SHOWN], zones)
            remedy = f"did you mean {near!r}?" if near else f"there are {', '.join(zones) or 'none'}"
            return problems.answer(404, f"no target is in zone {_quoted(wish.zone)} ({remedy})")
        groups = self._driller.groups()
        if wish.group is not None and wish.group not in groups:
            near = meant(wish.group[:_SHOWN], groups)
            remedy = f"did you mean {near!r}?" if near else f"there are {', '.join(groups) or 'none'}"
            return problems.answer(404, f"there is no target group {_quoted(wish.group)} ({remedy})")
        try:
            if not dry_run:
                return _json(self._driller.begin(wish))
            why = self._driller.may(wish)
        except Refused as refused:
            why = refused.why
        if why:
            return problems.answer(409, f"{wish.zone} cannot be failed now: {'; '.join(why)}", refusals=list(why))
        changes_nothing(request)
        return _json({"zone": wish.zone, "allowed": True, "for_s": wish.seconds})

    async def stop_drill(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        found, running = self._find(name), self._driller.running()
        if found is None:
            return problems.answer(404, f"no drill {name!r} is kept (balancer drill --list names those that are)")
        if running is None or running["id"] != name:
            return problems.answer(409, f"drill {name!r} is over already")
        self._driller.stop()
        return _json(running)

    def _find(self, name: str) -> dict[str, Any] | None:
        return next((one for one in self._driller.reports() if one["id"] == name), None)


def _quoted(text: str) -> str:
    return repr(text[:_SHOWN])


def _wish(body: bytes) -> tuple[Wish, bool]:
    document = bodies.document(body)
    if not isinstance(document, dict) or not isinstance(document.get("zone"), str):
        raise _BadRequest('send {"zone": "zone-a", "for": "60s"}')
    unknown = sorted(set(document) - _KEYS)
    if unknown:
        raise _BadRequest(f"unknown key {_quoted(unknown[0])} (write one of {', '.join(sorted(_KEYS))})")
    group, most, dry_run = document.get("group"), document.get("max_failures", 1.0), document.get("dry_run", False)
    if group is not None and not isinstance(group, str):
        raise _BadRequest("group: is no name of a target group")
    if isinstance(most, bool) or not isinstance(most, int | float) or not 0 <= most <= 100:
        raise _BadRequest("max_failures: write a number of percent, 0 to 100")
    if not isinstance(dry_run, bool):
        raise _BadRequest("dry_run: write true or false")
    seconds = _duration(document, "for", "60s", 0.1, LONGEST)
    before = _duration(document, "before", "5s", 0.0, _LONGEST_BEFORE)
    return Wish(document["zone"], group, seconds, float(most), before), dry_run


def _duration(document: dict[str, Any], key: str, default: str, least: float, most: float) -> float:
    value = document.get(key, default)
    seconds = parse_duration(value) if isinstance(value, str) else None
    if seconds is None or not least <= seconds <= most:
        bounds = f"{format_duration(least)} to {format_duration(most)}"
        raise _BadRequest(f"{key}: {repr(value)[:_SHOWN]} is no duration from {bounds} (write {default})")
    return seconds


def _json(document: dict[str, Any]) -> web.Response:
    return web.Response(text=json.dumps(document, ensure_ascii=False) + "\n", content_type="application/json")
