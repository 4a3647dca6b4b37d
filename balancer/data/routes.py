"""Routes: what a listener's rules come to in a worker: a group to forward to, or an answer of our own.

A route knows its places on the board, so that the end of a request adds to cells and looks up nothing.
"""

from __future__ import annotations

import random
import time
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING

from balancer.board import layout
from balancer.data.group import LiveGroup
from balancer.data.http import answers
from balancer.data.http.memory import ResponseMemory
from balancer.data.peers import network_of
from balancer.data.place import Place
from balancer.data.rates import Limiter
from balancer.data.recent import context
from balancer.data.target import LiveTarget
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import FixedResponse, Redirect
from balancer.picking.spread import Spread
from balancer.routing import redirect

if TYPE_CHECKING:
    from balancer.data.http.exchange import Exchange


class Route:
    """Where requests go that a rule matched: `group`, or one of several by `choose`, or `answer`."""

    __slots__ = (
        "_groups",
        "_place",
        "_reasons",
        "_slots",
        "context",
        "flow",
        "group",
        "hits",
        "listener",
        "responses",
        "rule",
        "shown",
        "spread",
    )

    def __init__(
        self,
        place: Place,
        listener: str,
        rule: str,
        slots: dict[str, int],
        responses: ResponseMemory,
        group: LiveGroup | None = None,
    ) -> None:
        self.rule = rule
        self.responses = responses
        self.listener = listener
        self.group = group
        self.spread: Spread | None = None
        self._groups: tuple[Route, ...] = ()
        self._place = place
        self._slots = slots
        name = group.spec.name if group is not None else ""
        self.context = b""
        self.number(-1)
        self.shown = quote(name)
        self.flow = slots.get(f"flow|{listener}|{name}", layout.NOWHERE)
        self._reasons = slots.get(f"reasons|{name}", layout.NOWHERE)
        self.hits: dict[LiveTarget | None, int] = {None: slots.get(f"hits|{listener}|{name}|", layout.NOWHERE)}

    def hits_of(self, target: LiveTarget | None) -> int:
        """Return the cell of a target's hits, and keep it: each is looked up once, when it has served."""
        name = "" if target is None else target.name
        group = self.group.spec.name if self.group is not None else ""
        cell = self._slots.get(f"hits|{self.listener}|{group}|{name}", self.hits[None])
        self.hits[target] = cell
        return cell

    def number(self, index: int) -> None:
        """Be the route of the rule with that place in the listener's list; -1 is no rule's."""
        name = self.group.spec.name if self.group is not None else ""
        self.context = context(self._slots, self.listener, name, index, self._place.version, self._place.revision)
        for route in self._groups:
            route.number(index)

    def count_failure(self, reason: Reason) -> None:
        """Count a failed request."""
        self._place.row[self._reasons + REASON_CODES[reason]] += 1

    def choose(self) -> Route:
        """Return the route to use: this one, unless it stands for several."""
        return self

    def answer(self, exchange: Exchange) -> None:
        """Answer without a target."""
        exchange.fail(Reason.CONFIG_ERROR)


class WeightedRoute(Route):
    """Several groups by weight; a group that cannot serve is passed over if another can."""

    __slots__ = ()

    def __init__(
        self,
        place: Place,
        listener: str,
        rule: str,
        slots: dict[str, int],
        responses: ResponseMemory,
        routes: tuple[tuple[Route, int], ...],
    ) -> None:
        super().__init__(place, listener, rule, slots, responses)
        self._groups = tuple(route for route, _ in routes)
        self.spread = Spread(tuple((route.rule, weight) for route, weight in routes), random.random)

    def choose(self) -> Route:
        """Return the route of the group whose turn it is."""
        assert self.spread is not None
        index = self.spread.pick()
        if index is not None and not self._serves(index):
            others = {other for other in range(len(self._groups)) if not self._serves(other)}
            other = self.spread.pick(others)
            index = index if other is None else other
        return self._groups[index or 0]

    def _serves(self, index: int) -> bool:
        group = self._groups[index].group
        return group is not None and group.usable()


class RedirectRoute(Route):
    """A Location."""

    __slots__ = ("_action",)

    def __init__(
        self,
        place: Place,
        listener: str,
        rule: str,
        slots: dict[str, int],
        responses: ResponseMemory,
        action: Redirect,
    ) -> None:
        super().__init__(place, listener, rule, slots, responses)
        self._action = action

    def answer(self, exchange: Exchange) -> None:
        line, block = exchange.line, exchange.block
        path = line.target.partition(b"?")[0].decode("latin-1")
        scheme, host, port = "http", block.host or "", exchange.client.listener.port
        if exchange.trust is not None:
            scheme, host, port = exchange.trust.outside(block)
        to = redirect.location(self._action.to, scheme, host, port, path, line.query)
        answers.reply(exchange, self._action.status, "", b"", (("Location", to),))


class LimitedRoute(Route):
    """A route with a limit of requests before it, or with two: the listener's first, then the rule's.

    It has no group, so that its requests go the long way and nobody else's are asked.
    """

    __slots__ = ("_inner", "_limiters")

    def __init__(
        self,
        place: Place,
        listener: str,
        slots: dict[str, int],
        responses: ResponseMemory,
        inner: Route,
        limiters: tuple[Limiter, ...],
    ) -> None:
        super().__init__(place, listener, inner.rule, slots, responses)
        self._inner = inner
        self._limiters = limiters
        self._groups = (inner,)

    def answer(self, exchange: Exchange) -> None:
        """Let the request in, or send it away."""
        now = time.monotonic_ns()
        for limiter in self._limiters:
            wait = self._place.rates.take(limiter, self._key(limiter, exchange), now)
            if wait:
                if limiter.of_rule and self._inner.group is not None:
                    exchange.route, exchange.group = self._inner, self._inner.group
                detail = (
                    f"{limiter.spec.key}, {'rule ' + self.rule if limiter.of_rule else 'listener ' + self.listener}"
                )
                exchange.fail(Reason.RATE_LIMITED, detail, headers=(("Retry-After", str(wait)),))
                return
        exchange.forward(self._inner)

    @staticmethod
    def _key(limiter: Limiter, exchange: Exchange) -> str:
        client, block = exchange.client, exchange.block
        value = block.values.get(limiter.header) if limiter.header else None
        if value is not None:
            return f"={value}"
        if block.forwarded_for and exchange.trust is not None:
            return network_of(exchange.trust.client_of(client.peer, block))
        return network_of(client.peer)


class FixedRoute(Route):
    """A fixed response."""

    __slots__ = ("_action", "_body")

    def __init__(
        self,
        place: Place,
        listener: str,
        rule: str,
        slots: dict[str, int],
        responses: ResponseMemory,
        action: FixedResponse,
    ) -> None:
        super().__init__(place, listener, rule, slots, responses)
        self._action = action
        self._body = action.body.encode()

    def answer(self, exchange: Exchange) -> None:
        answers.reply(exchange, self._action.status, self._action.content_type, self._body)


class NoRoute(Route):
    """No rule matches, or none for this method (`allow` is not empty). The same for every such request."""

    __slots__ = ("_allow",)

    def __init__(
        self,
        place: Place,
        listener: str,
        slots: dict[str, int],
        responses: ResponseMemory,
        allow: tuple[str, ...] = (),
    ) -> None:
        super().__init__(place, listener, "", slots, responses)
        self._allow = allow

    def answer(self, exchange: Exchange) -> None:
        if self._allow:
            exchange.fail(Reason.METHOD_NOT_ALLOWED, headers=(("Allow", ", ".join(self._allow)),))
        else:
            exchange.fail(Reason.NO_RULE, exchange.client.listener.nearest(exchange.line, exchange.block))
