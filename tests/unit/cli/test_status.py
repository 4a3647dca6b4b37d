"""`balancer status` as a person reads it."""

from __future__ import annotations

from typing import Any

from balancer.cli.status import heading


def group(*states: str, panic: bool = False, vanished: int = 0) -> dict[str, Any]:
    targets = [{"state": one} for one in states]
    return {"name": "demo", "policy": "round_robin", "panic": panic, "vanished": vanished, "targets": targets}


def test_who_is_out_on_purpose_is_not_missed() -> None:
    assert heading(group("healthy", "healthy")) == "demo: round_robin, 2 of 2 targets healthy"
    assert heading(group("healthy", "unhealthy")) == "demo: round_robin, 1 of 2 targets healthy"
    assert heading(group("healthy", "draining", "draining", "disabled")) == (
        "demo: round_robin, 1 of 1 targets healthy, 2 draining, 1 disabled"
    )


def test_the_vanished_are_told_while_their_zone_counts_them() -> None:
    assert heading(group("healthy", vanished=2)) == (
        "demo: round_robin, 1 of 1 targets healthy, 2 vanished (counted in its zone for 60 s)"
    )
