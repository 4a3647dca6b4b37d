"""What the machine gives: addresses that collide, an admin server for everybody, descriptors, sizes, times to stop."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from balancer.config.addresses import literal, split_address
from balancer.config.checks.scope import Scope
from balancer.config.fault import Finding, Steps, warning
from balancer.model.units import format_duration

MAX_LISTENERS = 200
MAX_GROUPS = 512
MAX_TARGETS = 16384
ENOUGH_DESCRIPTORS = 4096

Bound = tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]


def bound(address: str) -> Bound | None:
    """Return address and port as numbers, None if the address is not literal."""
    host, port = split_address(address) or ("", 0)
    number = literal(host)
    return None if number is None else (number, port)


def collide(one: Bound | None, other: Bound | None) -> bool:
    """Return whether two sockets cannot be bound both; port 0 never collides, :: leaves IPv4 alone."""
    if one is None or other is None or one[1] != other[1] or one[1] == 0 or one[0].version != other[0].version:
        return False
    return one[0] == other[0] or one[0].is_unspecified or other[0].is_unspecified


def machine(scope: Scope) -> Iterator[Finding]:
    """Yield what is wrong with the configuration as something that runs on a machine."""
    yield from _addresses(scope)
    yield from _admin(scope)
    yield from _sizes(scope)
    configuration = scope.configuration
    if scope.stop_grace is not None and configuration.stop_timeout > scope.stop_grace - 1.0:
        shown, grace = format_duration(configuration.stop_timeout), format_duration(scope.stop_grace)
        problem = f"docker kills after {grace} unless it is told to wait longer than {shown}"
        yield warning(
            ("stop_timeout",),
            problem,
            f"set stop_grace_period in compose above {shown}, and BALANCER_STOP_GRACE to the same, which tells it here",
        )
    if not configuration.listeners and scope.is_whole(("listeners",)):
        yield Finding((), "no listeners: nothing would be served", "write listeners:")
    yield from _descriptors(scope)


def _addresses(scope: Scope) -> Iterator[Finding]:
    seen: list[tuple[Bound | None, str, str]] = []
    if scope.is_whole(("admin", "address")):
        address = scope.configuration.admin.address
        seen.append((bound(address), address, "the admin server"))
    for index, listener in enumerate(scope.configuration.listeners):
        here = bound(listener.address)
        taken = next(((where, who) for other, where, who in seen if collide(here, other)), None)
        if taken is not None:
            where, who = taken
            problem = (
                f"{who} listens on {where} already"
                if where == listener.address
                else (f"{listener.address} collides with {who} on {where}")
            )
            yield Finding(("listeners", index, "address"), problem, "choose another port")
        seen.append((here, listener.address, f"the listener {listener.name}"))


def _admin(scope: Scope) -> Iterator[Finding]:
    admin = scope.configuration.admin
    if not scope.is_whole(("admin",)):
        return
    here = bound(admin.address)
    if admin.token and admin.token_file:
        yield Finding(("admin", "token_file"), "the token is written twice", "keep token or token_file")
    protected = admin.insecure or admin.token or admin.token_file
    if here is not None and not here[0].is_loopback and not protected:
        problem = f"{admin.address} can be reached from outside, without a token"
        steps: Steps = ("admin", "address")
        yield Finding(steps, problem, f"write 127.0.0.1:{here[1]}, a token, or insecure: true behind a firewall")


def _sizes(scope: Scope) -> Iterator[Finding]:
    configuration = scope.configuration
    targets = sum(len(group.targets) for group in configuration.target_groups)
    for count, most, what, steps in (
        (len(configuration.listeners), MAX_LISTENERS, "listeners", ("listeners",)),
        (len(configuration.target_groups), MAX_GROUPS, "target groups", ("target_groups",)),
        (targets, MAX_TARGETS, "targets", ("target_groups",)),
    ):
        if count > most:
            yield Finding(steps, f"{count} {what} are too many", f"at most {most}; run a second balancer", on_key=True)


def _descriptors(scope: Scope) -> Iterator[Finding]:
    if scope.nofile is None:
        return
    raise_it = "raise it: ulimit -n 65536, or ulimits: {nofile: 65536} in compose"
    if scope.nofile < ENOUGH_DESCRIPTORS:
        clients = scope.nofile * 9 // 20  # a tenth is kept free, and each client may need one to a target
        yield warning((), f"a process may open {scope.nofile} files here, enough for {clients} clients", raise_it)
        return
    for index, listener in enumerate(scope.configuration.listeners):
        if listener.limits.connections * 2 > scope.nofile * scope.configuration.workers > 0:
            problem = f"a process may open {scope.nofile} files here, too few for {listener.limits.connections} clients"
            yield warning(("listeners", index, "limits", "connections"), problem, raise_it)
