"""LiveListener: a listener in one worker: its socket, its connections, its rules under the present snapshot."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Coroutine
from json.encoder import encode_basestring_ascii as quote
from typing import cast

from balancer.board import layout
from balancer.data.accepting import WATCHED, Accepting
from balancer.data.deadlines import NEVER
from balancer.data.group import LiveGroup
from balancer.data.http.client import ClientProtocol
from balancer.data.http.exchange import Exchange
from balancer.data.http.memory import MAX_KEPT, RequestMemory, ResponseMemory
from balancer.data.http.request_block import Block
from balancer.data.http.request_line import NO_ROUTES, Line
from balancer.data.peers import Trust
from balancer.data.place import Place, log
from balancer.data.rates import Limiter
from balancer.data.routes import FixedRoute, LimitedRoute, NoRoute, RedirectRoute, Route, WeightedRoute
from balancer.model.reason import Reason
from balancer.model.snapshot import Action, FixedResponse, Forward, Listener, Redirect
from balancer.net import connect
from balancer.routing.router import Matched, NoRule, Router, WrongMethod

MAX_ROUTES = 64  # remembered per request line
MAX_ROUTE_KEY = 256  # characters of a host, with the header values that rules look at: longer ones are looked up anew
MAX_ROUTE_MEMORY = 8 * 1024 * 1024  # bytes, about, over all request lines; then the lines are forgotten
_ROUTE_COST = 200  # bytes of an entry beside its key
ACCEPTED_AT_ONCE = 32  # connections that wait, before others have their turn
MAX_PEERS = 4096  # addresses of clients of which is remembered what follows from them
_Peer = tuple[bool, RequestMemory, bytes, str]  # trusted; memory; its lines of a request; as in the access log


class LiveListener:
    """A listener, from the snapshot that brought it to the one that takes it away."""

    def __init__(self, place: Place, name: str, sock: socket.socket) -> None:
        self.place = place
        self.name = name
        self.shown = f'"listener":{quote(name)},'
        self.connections: set[ClientProtocol] = set()
        self.tunnels: set[Exchange] = set()
        self.closing = False
        self.active = 0  # requests under way
        connect.tune(sock, connect.UNACKNOWLEDGED_CLIENT)  # what it accepts inherits these: six calls less for each
        self.accepting = Accepting(place, sock, self._client)
        self.port = int(sock.getsockname()[1])
        self._going_on = False  # there may be more who wait to be accepted
        self._counted = False  # connections are counted by client: their number is limited
        self.peers: dict[str, _Peer] = {}
        self.spec: Listener
        self.trust: Trust
        self.nowhere: Route

    def serves(self, spec: Listener, groups: dict[str, LiveGroup]) -> bool:
        """Return whether it is already as another snapshot wants it, down to the very groups."""
        return self.spec == spec and all(groups.get(name) is group for name, group in self._groups.items())

    def configure(
        self, spec: Listener, groups: dict[str, LiveGroup], slots: dict[str, int], router: Router | None = None
    ) -> None:
        """Serve by another snapshot from the next request on. Nothing here can fail.

        `router`: that of its rules, where it is made already.
        """
        self.spec = spec
        names = {name for rule in spec.rules if isinstance(rule.action, Forward) for name, _ in rule.action.groups}
        self._groups = {name: groups.get(name) for name in names}
        self._slots = slots
        self._cell = slots.get(f"listener|{spec.name}", -1)
        self.active_cell = (self._cell if self._cell >= 0 else layout.NOWHERE) + layout.LISTENER_ACTIVE
        self.keep_alive = spec.timeouts.keep_alive or NEVER
        connect.may_leave_unacknowledged(self.accepting.sock, connect.client_patience(spec.timeouts.write_idle))
        self.first_byte = spec.timeouts.first_byte or NEVER
        self.most_requests = spec.limits.keep_alive_requests or 1 << 62
        self.router = router or Router(spec.rules)
        self._responses = ResponseMemory(remember=self.place.remember)
        self._limits = () if spec.rate_limit is None else (Limiter(spec.name, "", spec.rate_limit),)
        noted = {limiter.header for limiter in self._limits if limiter.header}
        self._routes = []
        for rule in spec.rules:
            route = self._route(rule.name, rule.action, groups)
            own = () if rule.rate_limit is None else (Limiter(spec.name, rule.name, rule.rate_limit),)
            noted.update(limiter.header for limiter in own if limiter.header)
            self._routes.append(self._limited(route, own))
        self._no_routes: dict[tuple[str, ...], Route] = {}  # by the methods that are allowed
        self._no_route()
        self._remembered = 0
        self.nowhere = Route(self.place, spec.name, "", slots, self._responses)
        self.renumber()
        self.trust = Trust(spec.trusted_proxies, self.port)
        limited = spec.limits.connections or spec.limits.connections_per_client  # one turn could bring more than that
        self.accepting.watch(1 if limited else WATCHED)
        wanted = self.router.header_names
        # Two halves that are known are not measured together: where a limit is below what may be kept, nothing is.
        remember = self.place.remember and spec.limits.head >= 2 * MAX_KEPT
        self._memories = {
            trusted: RequestMemory(trusted=trusted, wanted=wanted, noted=frozenset(noted), remember=remember)
            for trusted in (False, True)
        }
        self.peers = {}
        self.show()
        if bool(spec.limits.connections_per_client) is not self._counted:
            self._counted = not self._counted
            count = self.place.clients.joined if self._counted else self.place.clients.left
            for client in self.connections:
                count(self.name, client.peer)
        for client in self.connections:
            trusted = self.trust.believes(client.peer)
            client.use(self._memories[trusted], trusted=trusted)

    def renumber(self) -> None:
        """Have what is noted of requests name the configuration that runs now."""
        for index, route in enumerate(self._routes):
            route.number(index)
        for route in (self.nowhere, *self._no_routes.values()):
            route.number(-1)

    def _limited(self, route: Route, own: tuple[Limiter, ...] = ()) -> Route:
        """Return a route behind the listener's limit of requests and its rule's, itself where there is none."""
        limits = self._limits + own
        if not limits:
            return route
        return LimitedRoute(self.place, self.name, self._slots, self._responses, route, limits)

    def _route(self, rule: str, action: Action, groups: dict[str, LiveGroup]) -> Route:
        place, slots, memory = self.place, self._slots, self._responses
        match action:
            case Forward(named):
                routes = [
                    (Route(place, self.name, rule, slots, memory, groups.get(name)), weight) for name, weight in named
                ]
                if len(routes) == 1:
                    return routes[0][0]
                return WeightedRoute(place, self.name, rule, slots, memory, tuple(routes))
            case Redirect():
                return RedirectRoute(place, self.name, rule, slots, memory, action)
            case FixedResponse():
                return FixedRoute(place, self.name, rule, slots, memory, action)

    def serve(self) -> Coroutine[object, object, None]:
        """Return the work of accepting connections on the socket this worker was given; OSError."""
        return self.accepting.open()

    def _client(self) -> asyncio.Protocol:
        """Return what serves a client that connects: by its methods, not by its class (see `net.connect.dial`)."""
        return cast(asyncio.Protocol, ClientProtocol(self))

    def find_route(self, line: Line, block: Block) -> Route:
        """Return where a request goes, and remember it with its line."""
        found = self.router.match(line.shown_method, block.host, line.path, line.query, block.values)
        match found:
            case Matched():
                route = self._routes[found.index]
            case WrongMethod():
                route = self._no_routes.get(found.allow) or self._no_route(found.allow)
            case NoRule():
                route = self._no_routes[()]
        if line.routes is not NO_ROUTES and block.route_size <= MAX_ROUTE_KEY:
            self._remember(line, block, route)
        return route

    def _remember(self, line: Line, block: Block, route: Route) -> None:
        self._remembered += block.route_size + _ROUTE_COST
        if self._remembered > MAX_ROUTE_MEMORY:
            self._remembered = 0
            for memory in self._memories.values():
                memory.lines.clear()
        if len(line.routes) >= MAX_ROUTES:
            line.routes.clear()
        line.routes[block.route_key] = route

    def _no_route(self, allow: tuple[str, ...] = ()) -> Route:
        route = self._limited(NoRoute(self.place, self.name, self._slots, self._responses, allow))
        self._no_routes[allow] = route
        return route

    def nearest(self, line: Line, block: Block) -> str:
        """Return which rule came nearest to a request that none matches, and why it does not."""
        found = self.router.match(line.shown_method, block.host, line.path, line.query, block.values)
        return found.nearest if isinstance(found, NoRule) else ""

    # What a connection needs to know of its peer

    def meet(self, peer: str) -> _Peer:
        """Return what a connection needs to know of its peer, and remember it by the address."""
        trusted = self.trust.believes(peer)
        known = trusted, self._memories[trusted], self.trust.lines(peer), f'{self.shown}"client":"{peer}",'
        if len(self.peers) >= MAX_PEERS:
            self.peers.clear()
        self.peers[peer] = known
        return known

    # Connections

    def joined(self, client: ClientProtocol) -> bool:
        """A client connected; return False if its address has as many connections as it may."""
        self.connections.add(client)
        self.place.connections += 1
        self.place.deadlines.watched.add(client)
        if self._cell >= 0:
            self.place.row[self._cell + layout.LISTENER_ACCEPTED] += 1
        if self.closing or self.place.draining:
            client.persistent = False
        limits = self.spec.limits
        if limits.connections:
            self._show_connections()  # at once: other workers count with it
            if self._connected() >= limits.connections:
                self._pause()
        descriptors = self.place.descriptors
        if self.place.connections >= descriptors.narrow_at:
            descriptors.measure(self.place.connections)
            self.accepting.fit_backlog()
        if self.place.connections >= descriptors.room:
            self.hold_back()
        return not self._counted or self.place.clients.joined(self.name, client.peer) <= limits.connections_per_client

    def _connected(self) -> int:
        """Return the connections of all workers."""
        if self._cell < 0 or self.place.places == 1:
            return len(self.connections)
        own = self.place.row[self._cell + layout.LISTENER_CONNECTIONS]
        return (
            self.place.board.total(self._cell + layout.LISTENER_CONNECTIONS, self.place.places)
            - own
            + len(self.connections)
        )

    def _pause(self) -> None:
        """The listener has as many connections as it may."""
        if self.accepting:
            log.warning("connection limit reached listener=%s connections=%d", self.name, len(self.connections))
            self._stop(Reason.CONNECTION_LIMIT)

    def hold_back(self) -> None:
        """The worker runs out of descriptors."""
        descriptors = self.place.descriptors
        descriptors.short = True
        if self.accepting:
            descriptors.complain(time.monotonic(), f"{self.place.connections} clients: no more are accepted for now")
            self._stop(Reason.NO_LOCAL_RESOURCES)

    def _stop(self, reason: Reason) -> None:
        self.nowhere.count_failure(reason)
        self.accepting.pause()

    def _has_room(self) -> bool:
        limit = self.spec.limits.connections
        return not (self.place.descriptors.short or self.closing or (limit and self._connected() > limit * 95 // 100))

    def left(self, client: ClientProtocol) -> None:
        """A client's connection is gone."""
        if client in self.connections:
            self.connections.discard(client)
            self.place.connections -= 1
            if self._counted:
                self.place.clients.left(self.name, client.peer)
        self.place.deadlines.watched.discard(client)

    def show(self) -> None:
        """Put the gauges on the board."""
        self._show_connections()
        self.accepting.look(may=self._has_room())
        self._accept_waiting()

    def _accept_waiting(self) -> None:
        """Accept those who wait: the loop takes one a turn, so who comes new would starve where turns are long."""
        if not self.accepting or self.spec.limits.connections_per_client:  # of several at once too many were refused
            return
        coming = self.accepting.coming
        room = min(ACCEPTED_AT_ONCE, self.place.descriptors.room - self.place.connections - coming - 1)
        if self.spec.limits.connections:
            room = min(room, self.spec.limits.connections - self._connected() - coming - 1)
        # The last place is left to the loop, whose next one finds the listener full.
        if self.accepting.take(room) == ACCEPTED_AT_ONCE and not self._going_on:
            self._going_on = True
            self.place.loop.call_later(0.001, self._accept_more)

    def _accept_more(self) -> None:
        self._going_on = False
        self._accept_waiting()

    def resting(self) -> list[ClientProtocol]:
        """Return the clients that have asked before and rest now."""
        return [client for client in self.connections if client.rests]

    def _show_connections(self) -> None:
        if self._cell >= 0:
            self.place.row[self._cell + layout.LISTENER_CONNECTIONS] = len(self.connections)

    def log_bug(self, peer: str) -> None:
        """Log an exception of our own outside any request."""
        log.exception("internal error listener=%s client=%s", self.name, peer)

    # The end

    async def stop_accepting(self) -> None:
        """Accept what waits in the backlog, then no more."""
        await self.accepting.end()

    def close_idle(self) -> None:
        """End connections as soon as nothing is under way on them."""
        for client in list(self.connections):
            client.close_idle()

    def close_resting(self, now: float) -> None:
        """End the connections that rest; the others go on."""
        for client in list(self.connections):
            client.close_resting(now)

    def abort(self, reason: Reason) -> None:
        """End everything that still runs."""
        for exchange in list(self.tunnels):
            if exchange.tunnel is not None:
                exchange.tunnel.end(reason)
        for client in list(self.connections):
            client.shut_down(reason)

    def resign(self) -> None:
        """Give the cells on the board up: another listener of this name may write there from now on."""
        if self._cell >= 0:
            for gauge in layout.LISTENER_GAUGES:
                self.place.row[self._cell + gauge] = 0
        self._cell = -1
        self.active_cell = layout.NOWHERE + layout.LISTENER_ACTIVE

    async def retire(self, timeout: float) -> None:
        """The listener is gone from the configuration: its connections end after their current response."""
        self.closing = True
        await self.stop_accepting()
        self.close_idle()
        until = time.monotonic() + timeout
        while self.connections and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self.abort(Reason.SHUTTING_DOWN)
