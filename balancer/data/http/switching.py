"""Switching: a 101 came: from here on client and target talk past us (`tunnel`), until both are gone."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from balancer.data.deadlines import NEVER
from balancer.data.http import tries
from balancer.data.http.response_head import ResponseHead
from balancer.data.http.tunnel import Tunnel
from balancer.model.reason import Reason

if TYPE_CHECKING:
    from balancer.data.http.exchange import Exchange

HALF_CLOSE = 60.0  # seconds that one side has after the other is done


def switched(exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
    """Take a 101, if that is what was asked for; `rest`: what the target has said after it."""
    connection, target, client = exchange.upstream, exchange.target, exchange.client
    assert connection is not None
    if not exchange.block.upgrade or head.upgrade != exchange.block.upgrade:
        tries.failed(exchange, Reason.UPGRADE_FAILED, "a 101 that nobody asked for", "gateway")
        return
    exchange.status = exchange.upstream_status = 101
    exchange.from_upstream = exchange.head_sent = True
    exchange.stop_retrying()
    exchange.first_byte = time.monotonic() - exchange.started
    if exchange.group is not None and target is not None and target.troubled:
        exchange.group.responded(target, 101)
    upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % exchange.block.upgrade
    client.transport.write(head.out + upgrade + exchange.id_line + rest)
    exchange.unwatch()
    connection.deadline = NEVER
    connection.leave_to_tunnel()
    early = client.leave_to_tunnel()
    exchange.tunnel = tunnel = Tunnel(
        client.transport,
        connection.transport,
        exchange.place.deadlines,
        client.listener.spec.timeouts.tunnel_idle,
        HALF_CLOSE,
        partial(_over, exchange),
    )
    tunnel.upstream.bytes = len(rest)
    client.listener.tunnels.add(exchange)
    if early:
        tunnel.client.data_received(early)
    if client.has_ended() and not tunnel.client.eof_received():  # a FIN that came before the 101
        client.transport.close()


def _over(exchange: Exchange, reason: Reason | None, bytes_in: int, bytes_out: int) -> None:
    client = exchange.client
    client.listener.tunnels.discard(exchange)
    exchange.tunnel = None
    exchange.bytes_in, exchange.bytes_out, exchange.reason = bytes_in, bytes_out, reason
    if exchange.upstream is not None:
        exchange.upstream.tunnel_over()
        exchange.upstream = None
    exchange.leave(keep=False)
    exchange.close()
    client.tunnel_over()
