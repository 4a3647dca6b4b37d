"""Peers: what counts as one client: an IPv4 address, an IPv6 /64."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(4096)
def network_of(peer: str) -> str:
    """Return the network that stands for a client; what is no address (a trusted proxy may say anything) as it is."""
    if ":" not in peer:
        return peer
    try:
        address = ipaddress.IPv6Address(peer.partition("%")[0])
    except ValueError:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
