"""`balancer status` as a person reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from balancer.cli.status import heading, unresolved


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


def test_a_name_that_does_not_resolve_has_a_line_of_its_own() -> None:
    said = {"error": "the name has no address", "since": "2026-11-24T12:00:00.000Z"}
    names = [
        {"target_group": "demo", "dns": "shopp", "addresses": [], **said},
        {"target_group": "demo", "dns": "api", "addresses": ["10.0.0.1"], **said},
        {"target_group": "demo", "dns": "well", "addresses": ["10.0.0.1"], "error": "", "since": None},
        {"target_group": "other", "dns": "elsewhere", "addresses": [], **said},
    ]
    lost, kept = unresolved({"discovery": names}, "demo", datetime(2026, 11, 24, 12, 0, 12, tzinfo=UTC))
    assert lost.startswith("NAME shopp DOES NOT RESOLVE: the name has no address, first 12s ago (is it spelt right")
    assert "; its last 1 address stays in use" in kept
