"""The snapshot: one validated, immutable configuration version, as the workers run it.

Every default of the configuration stands here, once; the schema and the documentation read it from here. Durations are
seconds, sizes bytes. 0 means "off" or "no limit" where a comment says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from balancer.model.names import CheckType, PolicyName, Protocol, ZoneMode


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin server: /metrics, /healthz, /readyz, /api/v1."""

    address: str = "127.0.0.1:9900"
    insecure: bool = False  # True: an address other than loopback may be served without a token
    token: str = ""
    hosts: tuple[str, ...] = ()  # further names that the Host header may carry


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Where finished requests are written, one JSON object a line; `path` "-" is stdout, "" is off."""

    path: str = "-"
    format: str = "json"


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """The client side of 2.12."""

    first_byte: float = 10.0
    request_header: float = 10.0
    request_body_idle: float = 30.0
    keep_alive: float = 75.0
    write_idle: float = 60.0
    half_close: float = 5.0
    tunnel_idle: float = 3600.0
    expect_continue: float = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a listener; 0: no limit but the machine's."""

    connections: int = 0
    connections_per_client: int = 0
    body: int = 0
    head: int = 32 * 1024
    keep_alive_requests: int = 10_000
    min_body_rate: int = 500  # bytes a second


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests of one client or one value of a header field: a token bucket (2.17)."""

    rate: float  # tokens a second
    burst: int  # tokens that a full bucket holds
    key: str = "client_ip"  # or `header:` and a name in lower case


@dataclass(frozen=True, slots=True)
class Match:
    """What a request must look like; an empty tuple matches everything."""

    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()  # name in lower case, value: exact, "*" or "~regex"
    query: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Forward:
    """Send to one of the groups, by weight (smooth weighted round robin)."""

    groups: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with a Location; `to` may use {scheme} {host} {port} {path} {query}."""

    to: str
    status: int = 308


@dataclass(frozen=True, slots=True)
class FixedResponse:
    """Answer with a fixed status and body."""

    status: int = 200
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


Action = Forward | Redirect | FixedResponse


@dataclass(frozen=True, slots=True)
class Rule:
    """match → action; `name` is for logs: the given one, else its place such as `rules[2]`."""

    name: str
    match: Match
    action: Action
    priority: int = 0
    rate_limit: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """An address and protocol that accepts clients."""

    name: str
    address: str  # host:port as written; port 0 lets the kernel choose
    protocol: Protocol = Protocol.HTTP
    timeouts: ClientTimeouts = ClientTimeouts()
    limits: Limits = Limits()
    trusted_proxies: tuple[str, ...] = ()  # CIDRs; the word `private` is already spelled out
    rules: tuple[Rule, ...] = ()
    upgrade: tuple[str, ...] = ("websocket",)
    rate_limit: RateLimit | None = None  # before the rules


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Active checks of 2.7. `expected_statuses`: inclusive ranges."""

    type: CheckType = CheckType.TCP
    path: str = "/"
    method: str = "GET"
    host: str = ""  # "": the target's address
    headers: tuple[tuple[str, str], ...] = ()
    interval: float = 5.0
    timeout: float = 2.0
    unhealthy_threshold: int = 3
    healthy_threshold: int = 2
    fast_interval: float = 1.0  # never above interval
    unhealthy_interval: float = 5.0  # = interval unless written
    expected_statuses: tuple[tuple[int, int], ...] = ((200, 399),)
    expect_body: str = ""  # substring, or ~regex
    port: int = 0  # 0: the target's


@dataclass(frozen=True, slots=True)
class Zones:
    """How zones share a group's traffic (2.9)."""

    mode: ZoneMode = ZoneMode.SPREAD
    local: str = ""
    order: tuple[str, ...] = ()
    overprovisioning_factor: int = 140  # percent
    panic_threshold: int = 50  # percent; 0: never
    failback_delay: float = 30.0
    failback_ramp: float = 30.0


@dataclass(frozen=True, slots=True)
class UpstreamTimeouts:
    """The upstream side of 2.12."""

    connect: float = 2.0
    response_header: float = 60.0
    response_idle: float = 60.0
    request_write_idle: float = 60.0
    upstream_idle: float = 4.0
    request: float = 0.0  # whole request; 0: off


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed try is repeated elsewhere (2.10). `on` holds the words of the table there."""

    max_retries: int = 2
    on: tuple[str, ...] = ("connect", "reset")
    budget_percent: int = 20
    budget_min: int = 3
    per_try: float = 0.0
    replay_buffer: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Passive:
    """Ejection by traffic (2.8)."""

    consecutive_connect_failures: int = 3
    consecutive_gateway_failures: int = 5
    consecutive_5xx: int = 0  # 0: off
    base_ejection: float = 30.0
    max_ejection: float = 300.0
    max_ejected_percent: int = 50


@dataclass(frozen=True, slots=True)
class Queue:
    """Where requests wait when every target is at max_connections."""

    size: int = 1024
    timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class Discover:
    """Targets found by name: every address of a DNS name, resolved again for ever."""

    dns: str
    port: int
    zone: str = "default"
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Target:
    """One backend address. `ip` is the address to dial, "" while the host's name does not resolve."""

    name: str
    address: str  # host:port as written; for a discovered one ip:port
    ip: str
    port: int
    weight: int = 1
    zone: str = "default"
    drain: bool = False  # no new requests
    disabled: bool = False  # no requests and no probes


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Targets that serve the same thing, with one policy, one health check, one set of timeouts.

    `targets` holds the written ones and, in a published snapshot, the discovered ones too, those that are draining
    after they left included.
    """

    name: str
    protocol: Protocol = Protocol.HTTP
    policy: PolicyName = PolicyName.ROUND_ROBIN
    health_check: HealthCheck | None = HealthCheck()
    zones: Zones = Zones()
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    retry: Retry = Retry()
    passive: Passive | None = Passive()
    max_connections: int = 1024  # per target, over all workers; 0: no limit
    queue: Queue = Queue()
    wait_for_target: float = 0.0  # 0: a request without an available target fails at once
    slow_start: float = 0.0
    drain_timeout: float = 30.0
    rescue: bool = True
    targets: tuple[Target, ...] = ()
    discover: tuple[Discover, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One configuration version.

    `version` counts accepted configurations from 1; `revision` counts publications (discovery publishes too).
    `slots` maps the keys of `balancer.board.slots` to places in shared memory; it holds every place that was ever
    given out and not yet taken back, so that a control process that starts anew goes on counting where the last was.
    """

    version: int = 0
    revision: int = 0
    workers: int = 1
    admin: Admin = Admin()
    stop_timeout: float = 8.0
    buffer_limit: int = 256 * 1024 * 1024  # bytes a worker; 0: no limit
    access_log: AccessLog = AccessLog()
    listeners: tuple[Listener, ...] = ()
    target_groups: tuple[TargetGroup, ...] = ()
    slots: dict[str, int] = field(default_factory=dict)
