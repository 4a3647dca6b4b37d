"""orders: what the operator, or a target itself, wants of it beside what the configuration says. Pure.

Orders lie on the board with the states, so that they outlive control; a reload does not touch them. They end with their
target: one that leaves the configuration and comes back begins without any.
"""

from __future__ import annotations

from dataclasses import dataclass

from balancer.board import layout
from balancer.health.machine import Event
from balancer.model.snapshot import Target


@dataclass(frozen=True, slots=True)
class Order:
    """The orders on one target; times in seconds since 1970, 0 where there is none."""

    drain: bool | None = None  # True: drained; False: serving, although the configuration says `drain: true`
    drain_at: float = 0.0
    weight: int | None = None
    weight_at: float = 0.0
    asked: bool = False  # the target said X-Balancer-Drain: 1
    away: bool = False  # since then a probe failed, or asked again: the next good one is of another process


NONE = Order()


def wish(order: Order, target: Target, *, leaving: bool) -> tuple[Event, str]:
    """Return what a target is to be, DRAIN, DISABLE or ENABLE, and the reason in one word."""
    if leaving:
        return Event.DRAIN, "leaving"
    if target.disabled:
        return Event.DISABLE, "configuration"
    if order.drain:
        return Event.DRAIN, "operator"
    if target.drain and order.drain is None:
        return Event.DRAIN, "configuration"
    if order.asked:
        return Event.DRAIN, "asked_by_target"
    return Event.ENABLE, "returned"


def cells(order: Order, *, leaving: bool, drilled: bool) -> dict[int, int]:
    """Return the cells of a target's block that hold its orders."""
    bits = layout.ORDER_DRAIN if order.drain else 0
    bits |= layout.ORDER_SERVE if order.drain is False else 0
    bits |= layout.ORDER_ASKED if order.asked else 0
    bits |= layout.ORDER_AWAY if order.away else 0
    bits |= layout.ORDER_LEAVING if leaving else 0
    bits |= layout.ORDER_DRILLED if drilled else 0
    return {
        layout.ORDERS: bits,
        layout.ORDERED: int(order.drain_at * 1000),
        layout.WEIGHT: 0 if order.weight is None else order.weight + 1,
        layout.WEIGHED: int(order.weight_at * 1000),
    }


def read(block: memoryview[int]) -> Order:
    """Return the orders that a target's block holds."""
    bits, weight = block[layout.ORDERS], block[layout.WEIGHT]
    drain = True if bits & layout.ORDER_DRAIN else False if bits & layout.ORDER_SERVE else None
    return Order(
        drain,
        block[layout.ORDERED] / 1000,
        weight - 1 if weight else None,
        block[layout.WEIGHED] / 1000,
        bool(bits & layout.ORDER_ASKED),
        bool(bits & layout.ORDER_AWAY),
    )
