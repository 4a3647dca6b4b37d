"""refusal: addresses that may be no target, whoever names them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable


def why_refused(ip: str, port: int, own: Iterable[tuple[str, int]]) -> str:
    """Return why an address is no target, or "". `own`: the addresses and ports that listeners are bound to."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return "it is not an address"
    if address.is_unspecified:
        return "it is no address of a machine"
    if address.is_multicast:
        return "it is a multicast address"
    for host, bound_port in own:
        if port == bound_port and (host == ip or (ipaddress.ip_address(host).is_unspecified and _is_ours(ip))):
            return "a listener of this balancer is bound to it: a loop"
    return ""


def _is_ours(ip: str) -> bool:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((ip, 0))
        except OSError:
            return False
    return True
