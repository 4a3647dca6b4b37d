"""`listeners:` the addresses that accept clients."""

from __future__ import annotations

from typing import Annotated

from balancer.config.addresses import BindAddress, Network
from balancer.config.fields import (
    OFF,
    Duration,
    Name,
    Read,
    Size,
    choice,
    needed,
    off_option,
    one_of,
    option,
    size,
    time,
    whole,
)
from balancer.config.later import LISTENER_PROTOCOLS
from balancer.config.sections.rate_limit import RateLimit
from balancer.config.sections.rules import Rule
from balancer.config.sections.section import Section
from balancer.model import snapshot as model
from balancer.model.names import Protocol

_T = model.ClientTimeouts()
_L = model.Limits()
_D = model.Listener("", "")

ListenerProtocol = Annotated[Protocol, one_of(Protocol, [Protocol.HTTP], LISTENER_PROTOCOLS)]
_UPGRADES = ("websocket",)
Upgrade = Annotated[str, Read(choice(_UPGRADES), {"type": "string", "enum": list(_UPGRADES)})]
Count = Annotated[int, whole(0, 100_000_000)]


class ClientTimeouts(Section):
    """How long a client may take; 0s turns a limit off."""

    first_byte: Duration = time(_T.first_byte, "From accept to the first byte; then closed without a word.", "5s")
    request_header: Duration = time(_T.request_header, "From the first byte to the end of the head, in all.", "5s")
    request_body_idle: Duration = time(
        _T.request_body_idle, "Between two reads of the body, while one is wanted.", "1m"
    )
    keep_alive: Duration = time(_T.keep_alive, "Between two requests of a connection.", "30s")
    write_idle: Duration = time(_T.write_idle, "While no byte of the response could be written.", "30s")
    half_close: Duration = time(
        _T.half_close, "How long a client that has sent its FIN may still wait for its answer.", "60s"
    )
    tunnel_idle: Duration = time(_T.tunnel_idle, "An upgraded connection, silent in both directions.", "10m")
    expect_continue: Duration = time(
        _T.expect_continue, "How long the target may take for its 100 before ours is sent.", "2s"
    )


class Limits(Section):
    """What a client may use; 0 is no limit but the machine's."""

    connections: Count = option(_L.connections, "Connections of this listener at once, over all workers.", 10000)
    connections_per_client: Count = option(
        _L.connections_per_client, "Connections of one client at once, over all workers (IPv6 by /64).", 100
    )
    body: Size = size(_L.body, "The largest request body; larger ones get 413.", "10MiB")
    head: Size = size(_L.head, "The largest request head; larger ones get 431.", "16KiB")
    keep_alive_requests: Count = option(_L.keep_alive_requests, "Requests of one connection, then it is closed.", 1000)
    min_body_rate: Size = size(
        _L.min_body_rate,
        "What a second must bring of a body, on average over 30s, from 10s on; slower ones get 408.",
        "2KiB",
    )


class Listener(Section):
    """An address and protocol that accepts clients."""

    name: Name = needed("Its name in logs and metrics.", "web")
    protocol: ListenerProtocol = option(_D.protocol, "How clients speak to it.", "http")
    address: BindAddress = needed("Address and port; 0.0.0.0 is every address, port 0 any free one.", "0.0.0.0:8080")
    timeouts: ClientTimeouts = option(ClientTimeouts(), "How long a client may take.", {"keep_alive": "30s"})
    limits: Limits = option(Limits(), "What a client may use.", {"body": "10MiB"})
    trusted_proxies: tuple[Network, ...] = option(
        (), "Networks whose X-Forwarded-* are believed; private is all private ones and loopback.", ["10.0.0.0/8"]
    )
    upgrade: tuple[Upgrade, ...] = option(
        _D.upgrade, "Protocols that a client may switch to; [] for none.", ["websocket"]
    )
    rate_limit: Annotated[RateLimit | None, OFF] = off_option(
        "How much one client may ask, whatever the rule, or off.", {"rate": "100/s", "burst": 200}
    )
    rules: tuple[Rule, ...] = option((), "Which request goes where.", [{"action": {"forward": "demo"}}])
