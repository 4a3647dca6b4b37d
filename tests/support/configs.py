"""Small configurations: one listener `web`, one group `up`, and whatever a test says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def target(name: str, address: str, zone: str = "zone-a", **more: Any) -> dict[str, Any]:
    """Return a target."""
    return {"name": name, "address": address, "zone": zone, **more}


def group(name: str, *addresses: str, **more: Any) -> dict[str, Any]:
    """Return an http group of plain targets `NAME1`, `NAME2` …, unprobed and never ejected unless said."""
    made: dict[str, Any] = {"name": name, "protocol": "http", "health_check": "off", "passive": "off"}
    made["targets"] = [target(f"{name}{number}", address) for number, address in enumerate(addresses, 1)]
    return {**made, **more}


def listener(name: str = "web", rules: Sequence[Mapping[str, Any]] = (), **more: Any) -> dict[str, Any]:
    """Return an http listener on an ephemeral port of loopback."""
    return {"name": name, "protocol": "http", "address": "127.0.0.1:0", "rules": [dict(one) for one in rules], **more}


def forward(to: str | Mapping[str, int], **match: Any) -> dict[str, Any]:
    """Return a rule that forwards."""
    action = {"forward": to if isinstance(to, str) else dict(to)}
    return {"match": match, "action": action} if match else {"action": action}


def simple(*addresses: str, listeners: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a whole configuration: listener `web` forwards everything to group `up` of these addresses.

    `listeners` are further keys of the listener, the rest are further keys of the group.
    """
    return {
        "listeners": [listener("web", [forward("up")], **(listeners or {}))],
        "target_groups": [group("up", *addresses, **more)],
    }
