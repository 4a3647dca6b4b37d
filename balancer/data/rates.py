"""Rates: who has sent too many requests, over all workers: buckets by key in the shared tables.

A worker takes its token from the emptiest state of the bucket that any worker has written, and writes what is left into
its own table. Two that take at the same instant may get one token twice; nobody else pays for it.
"""

from __future__ import annotations

from balancer.board import layout
from balancer.board.board import Board
from balancer.board.keyed import Keyed
from balancer.model.snapshot import RateLimit
from balancer.picking.bucket import SECOND, Bucket


class Rates:
    """The buckets of one worker."""

    __slots__ = ("_by_address", "_by_header")

    def __init__(self, board: Board, place: int, places: int) -> None:
        self._by_address = Keyed(board, layout.RATES, place, places)
        self._by_header = Keyed(board, layout.HEADER_RATES, place, places)

    def take(self, limit: Limiter, key: str, now: int) -> int:
        """Take a token for `key` at `now` (monotonic ns); return 0, or the whole seconds until there is one."""
        table = self._by_header if limit.header else self._by_address
        at, tag = table.find(limit.identity + key.encode("utf-8", "surrogateescape"))
        full, wait = limit.bucket.take(max(table.own(at, tag), *table.others(at, tag), 0), now)
        if wait:
            return -(-wait // SECOND)
        table.put(at, tag, full, now)  # a bucket that is full again need not be known
        return 0


class Limiter:
    """A rate limit in its place: what the buckets of a listener, or of one of its rules, are known by.

    They outlive a reload as long as the listener, the rule's name and the key stay the same.
    """

    __slots__ = ("bucket", "header", "identity", "of_rule", "spec")

    def __init__(self, listener: str, rule: str, spec: RateLimit) -> None:
        """`rule`: its name, "" for the limit of the listener itself."""
        self.spec = spec
        self.of_rule = bool(rule)
        self.bucket = Bucket(spec)
        self.header = spec.key.removeprefix("header:") if spec.key != "client_ip" else ""
        self.identity = f"{listener}|{rule}|{spec.key}|".encode()
