"""LiveTarget: one target as a worker uses it: its idle connections, its connects in progress, its work in hand.

It outlives reloads as long as group, name and address stay the same: pool, counts and streaks go on.

Rules
1. `active` goes up once for a request that is placed here and down once when its try is over (`take`, `release`).
2. Idle connections are a stack: the last one used is the first to go again, so that surplus ages out.
3. A connection is in exactly one place: idle here, or with one exchange.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from balancer.board import layout
from balancer.board.records import NONE, PLACED
from balancer.data.access_log import quote
from balancer.data.deadlines import NEVER
from balancer.data.http.response_head import NO_RESPONSE
from balancer.data.place import Place, log
from balancer.data.turns import Turns
from balancer.health.ejection import Streaks
from balancer.model.names import Evidence, State
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import Passive, Target, TargetGroup
from balancer.net import connect, failures

if TYPE_CHECKING:
    from balancer.data.http.exchange import Exchange
    from balancer.data.http.upstream import UpstreamProtocol

MAX_IDLE = 1024  # connections kept idle per worker and target; what is surplus ages out long before
MAX_CONNECTING = 32  # connects in progress per worker and target: no stampede on a target that just recovered
MAX_REQUESTS = 10_000  # requests a connection carries
SHORTEST_IDLE = 0.5  # seconds: what a target's own limit may bring the idle time down to
LATE_BODY = 0.02  # seconds that a connection rests before it is used again, where its target may have more to say
FRESH = 1.0  # seconds: idle for less, a connection is taken without asking the kernel whether it still lives
LOST = (State.UNHEALTHY, State.EJECTED)  # states in which what waits for a target is moved elsewhere
UNSEEN = 512  # requests that other workers may begin here between two looks at their counts
_TURNS = 20  # of the clock over which the looks at all windows are spread: a look takes a system call


def settings(group: TargetGroup) -> tuple[object, ...]:
    """Return what targets take from their group: where that is the same, so are they."""
    return group.timeouts, group.retry.per_try, group.drain_timeout, group.max_connections, group.passive


class LiveTarget:
    """A target in one worker."""

    __slots__ = (
        "_dialling",
        "_look_at",
        "_part",
        "_passive",
        "_to_look_at",
        "active",
        "active_cell",
        "cell",
        "column",
        "connect_limit",
        "connecting",
        "connections",
        "drain_timeout",
        "draining",
        "ejected_until",
        "evidence",
        "group_name",
        "idle",
        "idle_limit",
        "last_head",
        "last_response",
        "limit",
        "may_connect",
        "near",
        "others",
        "place",
        "place_on_board",
        "placed",
        "pooling",
        "reasons",
        "removed",
        "rest",
        "shown",
        "shown_pair",
        "shown_zone",
        "spec",
        "state",
        "state_slot",
        "streaks",
        "timeouts",
        "troubled",
        "visible",
        "waiting",
    )

    def __init__(self, place: Place, group: TargetGroup, spec: Target, slots: dict[str, int]) -> None:
        self.place = place
        self.group_name = group.name
        self.idle: list[UpstreamProtocol] = []
        self.connections: set[UpstreamProtocol] = set()
        self.connecting = 0
        self.waiting: deque[tuple[Exchange, int, float]] = deque()  # exchange, its serial, since
        self.active = 0
        self.others = 0  # in-flight requests of other workers, as of the last look
        self.state = State.UNKNOWN
        self.evidence = Evidence.NONE
        self.ejected_until = 0.0  # > 0: ejected by this worker for itself, until control says more
        self.troubled = False  # True: a streak has begun
        self.idle_limit = NEVER  # learned: how long this target keeps an idle connection
        self.pooling = True  # connections may rest here
        self.removed = False
        self.visible = False  # it had connections when it was last shown
        self.draining: asyncio.TimerHandle | None = None  # what ends its last requests
        self.may_connect = MAX_CONNECTING  # connects in progress; fewer while it starts slowly
        self.last_head, self.last_response = b"HTTP/1.1", NO_RESPONSE  # most often the next is the same
        self._dialling: dict[asyncio.Task[None], tuple[Exchange, int]] = {}  # for whom, at which serial
        self._look_at = 0.0  # when windows are looked at again
        self._to_look_at: Turns[UpstreamProtocol] = Turns()
        self._part = 0  # so many of them in one turn
        self.cell = slots.get(f"target|{group.name}|{spec.name}", -1)
        self.active_cell = (self.cell if self.cell >= 0 else layout.NOWHERE) + layout.TARGET_ACTIVE
        self.state_slot = slots.get(f"state|{group.name}|{spec.name}", -1)
        self.place_on_board = self.state_slot if self.state_slot >= 0 else NONE  # by which a record names it
        self.placed = PLACED.pack(self.place_on_board, 0)  # that, and the scene it is in
        self.reasons = slots.get(f"reasons|{group.name}", -1)
        self.column = place.board.column(max(self.cell, 0), place.places)
        self._passive: Passive | None = None  # by which streaks are judged
        self.streaks: Streaks | None = None
        self.configure(group, spec)

    def configure(self, group: TargetGroup, spec: Target) -> None:
        """Take another version's settings; what goes on is not touched.

        Nothing is written on the board: a new target may be built and never run.
        """
        self.spec = spec
        self.shown, self.shown_zone = quote(spec.name), quote(spec.zone)  # as in the access log
        self.shown_pair = f'"target":{self.shown},"zone":{self.shown_zone},'
        self.timeouts = group.timeouts
        limits = [limit for limit in (group.timeouts.connect, group.retry.per_try) if limit]
        self.connect_limit = min(limits, default=0.0)  # seconds; 0: none
        self.rest = min(group.timeouts.upstream_idle, self.idle_limit)
        self.drain_timeout = group.drain_timeout
        self.limit = group.max_connections or 1 << 62
        self.near = max(0, self.limit - UNSEEN)  # hot: from here on `is_full` is asked
        if group.passive != self._passive:  # else failures in a row go on
            self._passive = group.passive
            self.streaks = Streaks(group.passive) if group.passive is not None else None
            self.troubled = False

    @property
    def name(self) -> str:
        return self.spec.name

    def turn(self, state: State, evidence: Evidence) -> None:
        """Take another state."""
        if state is State.EJECTED and self.streaks is not None:  # by whomever: what led to it is over
            self.streaks.reset()
            self.show_streaks()
        self.state, self.evidence = state, evidence
        if state not in (State.DRAINING, State.DISABLED):
            if self.draining is not None and not self.removed:
                self.draining.cancel()
                self.draining = None
        elif self.draining is None:
            self.draining = self.place.loop.call_later(self.drain_timeout, self._end)
            self.place.loop.call_soon(self._move_unconnected)
        self.pooling = not self.removed and state in (State.HEALTHY, State.UNKNOWN, State.UNHEALTHY)
        if state not in (State.HEALTHY, State.UNKNOWN):
            self.close_idle()

    def _move_unconnected(self) -> None:
        """Move those that are placed here and not on their way yet: a target that drains gets no new connection."""
        if self.draining is not None:
            for exchange in self.unconnected():
                exchange.rescue()

    def is_lost(self) -> bool:
        """Return whether what waits for its answer here had better be elsewhere."""
        return self.state in LOST

    def show_streaks(self) -> None:
        """Put the failures in a row on the board: control adds up those of all workers."""
        if self.cell >= 0:
            streaks = self.streaks
            both = 0
            if streaks is not None:
                both = min(streaks.connect, layout.STREAK) | min(streaks.gateway, layout.STREAK) << layout.STREAK_BITS
            self.place.row[self.cell + layout.TARGET_STREAKS] = both

    # Work in hand

    def take(self) -> None:
        """A request is placed here."""
        self.active += 1
        self.place.row[self.active_cell] = self.active

    def release(self) -> None:
        """A try is over, whatever its end."""
        self.active = max(0, self.active - 1)
        self.place.row[self.active_cell] = self.active

    def in_flight(self) -> int:
        """Return the requests in flight here, over all workers."""
        return sum(self.column) if self.cell >= 0 else self.active

    def is_full(self) -> bool:
        """Return whether as many requests as may be are in flight here, over all workers.

        Near the limit all rows are added up, so that only those workers pass it that look in the same instant, each by
        one request. Source: load balancing notes, 2.5 and 2.11.
        """
        if self.active + self.others < self.near:
            return False
        return (self.in_flight() if self.place.places > 1 else self.active) >= self.limit

    # Connections

    def idle_connection(self, *, careful: bool, now: float) -> UpstreamProtocol | None:
        """Return an idle connection, the last used first, or None.

        `careful`: the request could not be repeated, so a connection that has rested for a while is taken only if the
        kernel has not heard its end.
        """
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.deadline <= now or (
                careful and now - connection.idle_since >= FRESH and not _lives(connection)
            ):
                connection.close()
                continue
            return connection
        return None

    def connect(self, exchange: Exchange) -> None:
        """Bring `exchange` a new connection, or the failure to make one; later, never from within this call."""
        if self.removed:
            self.place.leaving.add(self)
        if self.connecting >= self.may_connect:
            self.waiting.append((exchange, exchange.serial, time.monotonic()))
            return
        self.connecting += 1
        self.place.descriptors.room -= 1
        task = self.place.loop.create_task(self._connect(exchange, exchange.serial))
        self._dialling[task] = exchange, exchange.serial
        task.add_done_callback(self._dialling.pop)

    def unconnected(self) -> list[Exchange]:
        """Return those that are placed here and have no connection yet."""
        placed = [*self._dialling.values(), *((exchange, serial) for exchange, serial, _ in self.waiting)]
        return [exchange for exchange, serial in placed if exchange.serial == serial]

    async def _connect(self, exchange: Exchange, serial: int) -> None:
        from balancer.data.http.upstream import UpstreamProtocol

        try:
            _, connection = await connect.dial(
                self.place.loop, self.spec.ip, self.spec.port, self.connect_limit, lambda: UpstreamProtocol(self)
            )
        except Exception as error:  # whatever it is, the place among those that connect is free again
            self.connecting -= 1
            if failures.connecting(error) is Reason.NO_LOCAL_RESOURCES:
                self.place.descriptors.complain(time.monotonic(), f"connecting to {self.spec.name}: {error}")
            else:
                self.place.unreachable(self.group_name, self.spec.name)
            if exchange.serial == serial:
                exchange.guarded(exchange.connect_failed, error)
        else:
            self.connecting -= 1
            if exchange.serial == serial:
                exchange.guarded(exchange.connected, connection)
            else:
                self._give_now(connection)
        self._next_waiting()

    def _next_waiting(self) -> None:
        while self.waiting and self.connecting < self.may_connect:
            exchange, serial, _ = self.waiting.popleft()
            if exchange.serial == serial:
                self.connect(exchange)

    def look(self, now: float) -> None:
        """Called by the coarse clock: counts of other workers, windows, and those who waited too long for a connect."""
        if self.cell >= 0 and self.place.places > 1:
            self.others = max(0, sum(self.column) - self.active)
        while self.waiting and now - self.waiting[0][2] > self.connect_limit > 0:
            exchange, serial, _ = self.waiting.popleft()
            if exchange.serial == serial:
                exchange.guarded(exchange.connect_failed, TimeoutError("no connect could be started"))
        if now >= self._look_at or self._to_look_at:
            self._look_at_windows(now)

    def _look_at_windows(self, now: float) -> None:
        """See which targets of requests that take long have no room, a part of them in each turn."""
        if not self._to_look_at:
            self._look_at = now + connect.LOOK_AFTER
            self._part = self._to_look_at.begin(self.connections) // _TURNS + 1
        since = now - connect.LOOK_AFTER
        for connection in self._to_look_at.take(self._part):
            if connection.exchange is not None and connection.exchange.started <= since:
                connection.look_at_window()

    def give(self, connection: UpstreamProtocol, now: float) -> None:
        """Take a connection back after a complete exchange: for the next who waits, or to rest."""
        while self.waiting and not connection.closed:
            exchange, serial, _ = self.waiting.popleft()
            if exchange.serial == serial:
                exchange.connected(connection)
                return
        idle = self.idle
        if (
            self.pooling
            and len(idle) < MAX_IDLE
            and now < connection.retires
            and connection.requests < MAX_REQUESTS
            and not self.place.draining
        ):
            rest = self.rest if connection.idle_limit > self.rest else connection.idle_limit
            connection.idle_since = now
            connection.deadline = now + rest
            idle.append(connection)
        else:
            connection.close()

    def give_later(self, connection: UpstreamProtocol) -> None:
        """Take a connection back that may still bring what nobody asked for: whatever comes meanwhile ends it.

        For a response that spoke of a body where none is allowed (to HEAD, 304): a target that sends it all the same
        does so at once, and those bytes must not become the answer to the next request.
        """
        self.place.loop.call_later(LATE_BODY, self._give_now, connection)

    def _give_now(self, connection: UpstreamProtocol) -> None:
        if not connection.closed:
            self.give(connection, time.monotonic())

    def learn(self, age: float) -> None:
        """The target closed a connection that had rested for `age` seconds: rest a little less from now on."""
        self.idle_limit = max(SHORTEST_IDLE, 0.75 * age)
        self.rest = min(self.timeouts.upstream_idle, self.idle_limit)

    def forget(self, share: float) -> None:
        """Let a learned limit grow back: by 10 % a minute, `share` of a minute at a time."""
        if self.idle_limit < self.timeouts.upstream_idle:
            self.idle_limit *= 1.0 + 0.1 * share
        else:
            self.idle_limit = NEVER
        self.rest = min(self.timeouts.upstream_idle, self.idle_limit)

    def unsolicited(self, detail: str) -> None:
        """The target sent what nobody asked for; the connection is closed by the caller."""
        self.place.add(self.reasons + REASON_CODES[Reason.UNSOLICITED_RESPONSE] if self.reasons >= 0 else -1)
        log.warning("unsolicited response group=%s target=%s detail=%r", self.group_name, self.spec.name, detail)

    def close_idle(self, most: int = MAX_IDLE) -> int:
        """Close what rests, the longest rest first; return how many."""
        idle, self.idle = self.idle[:most], self.idle[most:]
        for connection in idle:
            connection.close()
        return len(idle)

    def show(self) -> None:
        """Put the gauges on the board."""
        if self.cell >= 0:
            self.place.row[self.active_cell] = self.active
            self.place.row[self.cell + layout.TARGET_CONNECTIONS] = len(self.connections)
            self.place.row[self.cell + layout.TARGET_IDLE] = len(self.idle)
        self.visible = bool(self.connections)

    def leave(self) -> None:
        """The target is gone from the snapshot: its last requests end, at the latest after the drain time."""
        self.removed = True
        self.pooling = False
        self.close_idle()
        self.place.leaving.add(self)
        if self.cell >= 0:  # its places on the board are those of the next target of its name
            for gauge in layout.TARGET_GAUGES:
                self.place.row[self.cell + gauge] = 0
            self.cell, self.active_cell = -1, layout.NOWHERE + layout.TARGET_ACTIVE
        if self.active and self.draining is None:  # else it has been given that time already
            self.draining = self.place.loop.call_later(self.drain_timeout, self._end)

    def is_done(self) -> bool:
        """Return whether nothing is left to look at."""
        return not (self.connections or self.connecting or self.waiting)

    def _end(self) -> None:
        """The drain time is over: what still runs here is cut."""
        for connection in list(self.connections):
            if connection.exchange is not None:
                connection.exchange.target_removed()
            if not connection.closed:
                connection.abort()


def _lives(connection: UpstreamProtocol) -> bool:
    """Return whether the kernel has heard nothing of the connection's end. hot: 0.6 µs, for unrepeatable requests."""
    return not connection.transport.is_closing() and not connect.heard(connection.transport)
