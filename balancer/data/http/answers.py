"""Answers: how a request ends that the balancer answers by itself, with a failure or by rule.

What such an answer says is made in `replies`; this sends it, and decides whether the connection goes on after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.data.http import replies
from balancer.model.reason import Reason

if TYPE_CHECKING:
    from balancer.data.http.exchange import Exchange


def failure(exchange: Exchange, reason: Reason, status: int, headers: replies.Headers) -> None:
    """Answer with a failure of that reason; `status`: 0 for that of the reason. Its last try is over."""
    close = _must_close(exchange)
    exchange.status, data = replies.failure(
        reason,
        request_id=exchange.request_id,
        as_json=replies.wants_json(replies.accept_of(exchange.block.out)),
        is_head=exchange.line.is_head,
        close=close,
        status=status,
        headers=headers,
        keep_alive=exchange.line.minor == 0 and not close,
    )
    exchange.keep = not close
    exchange.bytes_out = len(data) - data.find(b"\r\n\r\n") - 4
    exchange.client.transport.write(data)
    exchange.close()


def reply(exchange: Exchange, status: int, kind: str, body: bytes, headers: replies.Headers = ()) -> None:
    """Answer by rule: a redirect or a fixed response."""
    close = _must_close(exchange)
    exchange.keep = not close
    exchange.status = status
    data = replies.answer(
        status,
        kind,
        body,
        request_id=exchange.request_id,
        is_head=exchange.line.is_head,
        close=close,
        headers=headers,
        keep_alive=exchange.line.minor == 0 and not close,
    )
    exchange.bytes_out = 0 if exchange.line.is_head else len(body)
    exchange.client.transport.write(data)
    exchange.close()


def _must_close(exchange: Exchange) -> bool:
    client = exchange.client
    return not exchange.keep or not client.persistent or exchange.place.draining or not client.can_discard()
