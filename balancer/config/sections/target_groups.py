"""`target_groups:` targets that serve the same thing, and how they are used."""

from __future__ import annotations

from typing import Annotated, Any

from balancer.config.addresses import DialAddress, HostName
from balancer.config.fields import (
    OFF,
    Duration,
    Flag,
    Name,
    Read,
    Size,
    choice,
    needed,
    one_of,
    option,
    size,
    time,
    whole,
)
from balancer.config.later import GROUP_PROTOCOLS, POLICIES
from balancer.config.sections.health_check import HealthCheck
from balancer.config.sections.section import Section
from balancer.config.sections.zones import Zones
from balancer.model import snapshot as model
from balancer.model.names import PolicyName, Protocol

_D = model.TargetGroup("")
_T = model.UpstreamTimeouts()
_R = model.Retry()
_P = model.Passive()
_Q = model.Queue()
_TARGET = model.Target("", "", "", 0)

RETRY_WORDS = ("connect", "reset", "timeout", "502", "503", "504", "429", "non_idempotent")
Weight = Annotated[int, whole(0, 1000)]
Count = Annotated[int, whole(0, 1_000_000)]
_read_word = choice(RETRY_WORDS)


def _retry_word(value: object) -> str:
    return _read_word(str(value) if isinstance(value, int) and not isinstance(value, bool) else value)


_WORDS: list[Any] = [word for word in RETRY_WORDS if not word.isdigit()]
_WORDS += [int(word) for word in RETRY_WORDS if word.isdigit()]
RetryWord = Annotated[str, Read(_retry_word, {"enum": _WORDS})]


class UpstreamTimeouts(Section):
    """How long a target may take; 0s turns a limit off."""

    connect: Duration = time(_T.connect, "Until the connection stands.", "1s")
    response_header: Duration = time(
        _T.response_header, "From the end of the request to the head of the response.", "10s"
    )
    response_idle: Duration = time(_T.response_idle, "Between two reads of the response body.", "5m")
    request_write_idle: Duration = time(_T.request_write_idle, "While no byte of the request could be written.", "30s")
    upstream_idle: Duration = time(
        _T.upstream_idle, "How long an unused connection is kept; less than the target keeps it.", "1s"
    )
    request: Duration = time(_T.request, "The whole request, with queue and retries; 0s is no limit.", "30s")


class Retry(Section):
    """What is tried again elsewhere, and how often."""

    short = "{{max_retries: {}}}"

    max_retries: Annotated[int, whole(0, 10)] = option(_R.max_retries, "Tries beyond the first; 0 for none.", 1)
    on: tuple[RetryWord, ...] = option(
        _R.on,
        "connect: nothing was sent, any method. reset, timeout, 502 503 504 429: idempotent methods. non_idempotent: "
        "those of POST and PATCH too, which a target may then execute twice.",
        ["connect", "reset", 503],
    )
    budget_percent: Annotated[int, whole(0, 100)] = option(
        _R.budget_percent, "Retries in flight, in percent of the active requests.", 10
    )
    budget_min: Count = option(_R.budget_min, "Retries in flight that are always allowed.", 10)
    per_try: Duration = time(
        _R.per_try, "The longest one try may take, from connecting to the response's head; 0s is no limit.", "2s"
    )
    replay_buffer: Size = size(_R.replay_buffer, "How much of a body is kept to be sent again.", "128KiB")


class Passive(Section):
    """When traffic alone takes a target out for a while; `passive: off` never does."""

    consecutive_connect_failures: Count = option(
        _P.consecutive_connect_failures, "Failed connects in a row; 0 is off.", 5
    )
    consecutive_gateway_failures: Count = option(
        _P.consecutive_gateway_failures, "Resets, timeouts, 502, 503 and 504 in a row; 0 is off.", 10
    )
    consecutive_5xx: Count = option(_P.consecutive_5xx, "Statuses from 500 in a row; 0 is off.", 20)
    base_ejection: Duration = time(
        _P.base_ejection, "How long the first ejection lasts; each further one longer.", "10s"
    )
    max_ejection: Duration = time(_P.max_ejection, "The longest that an ejection lasts.", "2m")
    max_ejected_percent: Annotated[int, whole(0, 100)] = option(
        _P.max_ejected_percent, "How much of the group may be ejected at once, in percent; never the last target.", 30
    )


class Queue(Section):
    """The line that requests wait in while every target is at max_connections."""

    short = "{{size: {}}}"

    size: Count = option(_Q.size, "How many may wait; more get 503.", 100)
    timeout: Duration = time(
        _Q.timeout, "How long one waits in all; then it gets 503, or is told why its last try failed.", "2s"
    )


class Target(Section):
    """One backend address."""

    short = "{{name: a1, address: {}}}"

    name: Name = needed("Its name in logs and metrics.", "a1")
    address: DialAddress = needed("Host and port.", "backend-a:8000")
    zone: Name = option(_TARGET.zone, "Its fault domain.", "zone-a")
    weight: Weight = option(_TARGET.weight, "Its share beside the others; 0 gives it no new work.", 10)
    drain: Flag = option(_TARGET.drain, "No new requests; those that run may finish within drain_timeout.", True)
    disabled: Flag = option(_TARGET.disabled, "As drain, and it is not checked either.", True)


class Discover(Section):
    """Targets found by name: every address of a DNS name, resolved again for ever."""

    short = "{{dns: {}, port: 8000}}"

    dns: HostName = needed("The name, such as that of a compose service.", "backend-a")
    port: Annotated[int, whole(1, 65535)] = needed("The port of every address.", 8000)
    zone: Name = option(_TARGET.zone, "The fault domain of these targets.", "zone-a")
    weight: Weight = option(_TARGET.weight, "The weight of each of them.", 10)


class TargetGroup(Section):
    """Targets that serve the same thing, with one policy, one health check, one set of timeouts."""

    name: Name = needed("Its name in rules, logs and metrics.", "demo")
    protocol: Annotated[Protocol, one_of(Protocol, [Protocol.HTTP], GROUP_PROTOCOLS)] = option(
        _D.protocol, "How targets are spoken to.", "http"
    )
    policy: Annotated[PolicyName, one_of(PolicyName, later=POLICIES)] = option(
        _D.policy, "How a target is picked: by weight in turn, or the one with the least work.", "least_conn"
    )
    health_check: Annotated[HealthCheck | None, OFF] = option(
        HealthCheck(), "Probes of every target, or off.", {"type": "http", "path": "/healthz"}
    )
    zones: Zones = option(Zones(), "How zones share the traffic.", {"mode": "local_first", "local": "zone-a"})
    timeouts: UpstreamTimeouts = option(UpstreamTimeouts(), "How long a target may take.", {"connect": "1s"})
    retry: Retry = option(Retry(), "When a failed try is repeated on another target.", {"max_retries": 1})
    passive: Annotated[Passive | None, OFF] = option(
        Passive(), "When traffic alone takes a target out, or off.", {"consecutive_connect_failures": 5}
    )
    max_connections: Count = option(
        _D.max_connections, "Requests at once per target, over all workers; 0 is no limit.", 100
    )
    queue: Queue = option(Queue(), "Where requests wait when every target is full.", {"size": 100, "timeout": "2s"})
    wait_for_target: Duration = time(
        _D.wait_for_target, "How long a request waits for a target to appear where none is available.", "10s"
    )
    slow_start: Duration = time(_D.slow_start, "How long a target that came back takes to get its full share.", "10s")
    drain_timeout: Duration = time(_D.drain_timeout, "How long requests of a leaving target may take to finish.", "1m")
    rescue: Flag = option(_D.rescue, "Move idempotent requests off a target that turns unhealthy.", False)
    targets: tuple[Target, ...] = option((), "Targets by address.", [{"name": "a1", "address": "backend-a:8000"}])
    discover: tuple[Discover, ...] = option(
        (), "Targets by name, as well as or instead of targets.", [{"dns": "backend-a", "port": 8000}]
    )
