"""steering: the routes by which the operator drains targets, lets them serve again, and weighs them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from balancer.control import log
from balancer.control.admin import bodies, problems, views
from balancer.control.admin.changes import changes_nothing
from balancer.control.facts import Key
from balancer.control.loop import Control
from balancer.control.orders import Order
from balancer.control.picture import Picture
from balancer.control.record import Record
from balancer.control.stats import Stats

MOST = 1000  # the greatest weight

Look = Callable[[], tuple[Picture, Stats]]


class Steering:
    """One method a route. An order changes nothing that the target's state does not allow, and says so."""

    def __init__(self, control: Control, look: Look) -> None:
        self._control = control
        self._look = look

    async def drain(self, request: web.Request) -> web.Response:
        record = self._find(request)
        if record is None:
            return self._unknown(request)
        refusal = self._stands(record)
        if refusal is not None:
            return refusal
        if record.order.drain is not True:
            self._order(record, replace(record.order, drain=True, drain_at=time.time()), "drain was ordered")
        else:
            changes_nothing(request)
        return self._answer(record.key)

    async def undrain(self, request: web.Request) -> web.Response:
        record = self._find(request)
        if record is None:
            return self._unknown(request)
        refusal = self._stands(record)
        if refusal is not None:
            return refusal
        wanted = False if record.target.drain else None
        if record.order.drain is not wanted or record.order.asked:
            at = time.time() if wanted is False else 0.0
            order = replace(record.order, drain=wanted, drain_at=at, asked=False, away=False)
            self._order(record, order, "drain was ended")
        else:
            changes_nothing(request)
        return self._answer(record.key)

    async def weigh(self, request: web.Request) -> web.Response:
        weight = _weight(await request.read())
        record = self._find(request)
        if record is None:
            return self._unknown(request)
        if weight is None:
            return problems.answer(400, f'send {{"weight": n}}, n a whole number from 0 to {MOST}')
        self._order(record, replace(record.order, weight=weight, weight_at=time.time()), "weight was ordered")
        return self._answer(record.key)

    async def unweigh(self, request: web.Request) -> web.Response:
        record = self._find(request)
        if record is None:
            return self._unknown(request)
        if record.order.weight is not None:
            self._order(
                record, replace(record.order, weight=None, weight_at=0.0), "weight is the configuration's again"
            )
        else:
            changes_nothing(request)
        return self._answer(record.key)

    def _find(self, request: web.Request) -> Record | None:
        return self._control.ledger.records.get((request.match_info["group"], request.match_info["target"]))

    def _unknown(self, request: web.Request) -> web.Response:
        group, name = request.match_info["group"], request.match_info["target"]
        return problems.answer(404, f"there is no target {name!r} in a target group {group!r}")

    @staticmethod
    def _stands(record: Record) -> web.Response | None:
        """Return why the operator cannot say whether a target serves, None if they can."""
        if record.leaving_until is not None:
            return problems.answer(409, "it is leaving already: it is no longer in the configuration, or not found")
        if record.target.disabled:
            return problems.answer(409, "the configuration disables it (remove disabled: true)")
        return None

    def _order(self, record: Record, order: Order, event: str) -> None:
        group, target = record.key
        log.info(event, group=group, target=target, weight=order.weight)
        self._control.order(record.key, order)

    def _answer(self, key: Key) -> web.Response:
        found = views.target(*self._look(), *key)
        return web.Response(text=json.dumps(found, ensure_ascii=False) + "\n", content_type="application/json")


def _weight(body: bytes) -> int | None:
    """Return the weight that a body holds, None if it is none."""
    document = bodies.document(body)
    weight = document.get("weight") if isinstance(document, dict) and set(document) == {"weight"} else None
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight <= MOST:
        return None
    return int(weight) if weight == int(weight) else None  # to JSON 3.0 is a whole number, too
