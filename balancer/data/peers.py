"""Peers: what counts as one client (an IPv4 address, an IPv6 /64), whose word about it is believed, and what we say."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from balancer.routing import paths

if TYPE_CHECKING:
    from balancer.data.http.request_block import Block


# An entry of X-Forwarded-For as proxies write it: an address, or one with a port, IPv6 then in brackets.
_ENTRY = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+)(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)(?:%[^%]*)?")


# What a trusted proxy says of the scheme and the port at which its client asked; of several the first, the outermost.
_SCHEME = re.compile(rb"\r\nx-forwarded-proto:[\t ]*(https?)[\t ]*[,\r]", re.IGNORECASE)
_PORT = re.compile(rb"\r\nx-forwarded-port:[\t ]*([0-9]{1,5})[\t ]*[,\r]", re.IGNORECASE)
_HOST = re.compile(rb"\r\nx-forwarded-host:[\t ]*([^,\r]*?)[\t ]*[,\r]", re.IGNORECASE)
_PORT_OF_HOST = re.compile(rb"(?:\[[^]]*\]|[^:]*):([0-9]{1,5})")
_PORTS = {"http": 80, "https": 443}


def _number(match: re.Match[bytes] | None) -> int:
    """Return the port that was found, 0 for none or one that there is not."""
    port = 0 if match is None else int(match[1])
    return port if port <= 65535 else 0


@lru_cache(4096)
def address_of(entry: str) -> str:
    """Return the address in an entry of X-Forwarded-For, without port, brackets and zone; "" if there is none."""
    match = _ENTRY.fullmatch(entry)
    if match is None:
        return ""
    text = match[1] or match[2] or match[3]
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return ""
    return str(text)


@lru_cache(4096)
def network_of(peer: str) -> str:
    """Return the network that stands for a client; what is no address as it is."""
    if ":" not in peer:
        return peer
    try:
        address = ipaddress.IPv6Address(peer.partition("%")[0])
    except ValueError:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


class Trust:
    """Whose X-Forwarded-* are believed at a listener, and what it tells targets of its clients."""

    __slots__ = ("_networks", "_port")

    def __init__(self, proxies: tuple[str, ...], port: int) -> None:
        """`proxies`: the networks (CIDR) of peers that are believed; `port`: the listener's."""
        self._networks = [ipaddress.ip_network(cidr) for cidr in proxies]
        self._port = port

    def believes(self, peer: str) -> bool:
        """Return whether the X-Forwarded-* of `peer` are believed."""
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def lines(self, peer: str) -> bytes:
        """Return the header lines that are the same for every request of a connection."""
        return (
            f"X-Forwarded-For: {peer}\r\nX-Real-IP: {peer}\r\n"
            f"X-Forwarded-Proto: http\r\nX-Forwarded-Port: {self._port}\r\n"
        ).encode()

    def forwarded(self, peer: str, block: Block) -> bytes:
        """Return those lines for one request of a peer that is trusted. Source: load balancing notes, 2.3."""
        chain = [entry.decode("latin-1") for entry in block.forwarded_for]
        lines = f"X-Forwarded-For: {', '.join([*chain, peer])}\r\nX-Real-IP: {self.client_of(peer, block)}\r\n"
        if b"x-forwarded-proto" not in block.seen:
            lines += "X-Forwarded-Proto: http\r\n"
        if b"x-forwarded-port" not in block.seen:
            lines += f"X-Forwarded-Port: {self.outside(block)[2]}\r\n"
        return lines.encode("latin-1")

    def outside(self, block: Block) -> tuple[str, str, int]:
        """Return the scheme, the host and the port at which the client of a trusted peer asked, as far as that says.

        Whoever says a scheme and no port is asked at the port of the host, or at the usual one of the scheme.
        """
        said = _SCHEME.search(block.raw) if b"x-forwarded-proto" in block.seen else None
        scheme = "http" if said is None else said[1].decode().lower()
        raw, host = block.raw_host, block.host
        named = _HOST.search(block.raw) if b"x-forwarded-host" in block.seen else None
        if named is not None and (key := paths.host_key(named[1])) is not None:
            raw, host = named[1], key
        port = _number(_PORT.search(block.raw)) if b"x-forwarded-port" in block.seen else 0
        if not port and said is not None:
            port = _number(_PORT_OF_HOST.fullmatch(raw)) or _PORTS[scheme]
        return scheme, host or "", port or self._port

    def client_of(self, peer: str, block: Block) -> str:
        """Return the client behind a trusted peer: the rightmost address that is not itself trusted, else the first.

        An entry that is no address (`unknown`) names nobody: the client is then the hop that said it.
        """
        client = peer
        for entry in reversed(block.forwarded_for):
            named = address_of(entry.decode("latin-1"))
            if not named:
                break
            client = named
            if not self.believes(named):
                break
        return client
