"""guard: who may speak to the admin server. Pure.

A web page that somebody opens can make their browser send requests to a port on loopback, or, by pointing its own name
there, even read the answers (DNS rebinding). So a name in Host must be one that leads here, and a write that comes from
a page must come from a page of ours.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Callable, Collection, Mapping, Sized

from balancer.model.snapshot import Admin

OPEN = frozenset({"/healthz", "/readyz"})  # read without a token: they tell little, and those who ask seldom have one
SAFE = frozenset({"GET", "HEAD"})
_JUDGED = ("Host", "Origin", "Authorization", "Sec-Fetch-Site")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


def allowed_hosts(admin: Admin, host_name: str) -> frozenset[str]:
    """Return the names and addresses that Host may carry, in lower case; loopback addresses are allowed besides."""
    bound = admin.address.rpartition(":")[0].strip("[]")
    bound = "" if bound in ("0.0.0.0", "::") else bound  # no name of a place: a browser takes it for this machine
    return frozenset(name.lower() for name in ("localhost", "balancer", host_name, bound, *admin.hosts) if name)


def host_refused(host: str | None, allowed: Collection[str], local: str) -> bool:
    """Return whether a Host field leads elsewhere; `local`: the address at which the request arrived."""
    name = _name(host or "")
    if name in allowed:
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return True
    return not address.is_loopback and name != local


def origin_refused(method: str, headers: Mapping[str, str], allowed: Collection[str], local: str) -> bool:
    """Return whether a write was sent by a page of another site."""
    if method in SAFE:
        return False
    if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("Origin")
    if origin is None:
        return False
    scheme, _, there = origin.partition("://")
    return scheme not in ("http", "https") or there != headers.get("Host") or host_refused(there, allowed, local)


def twice(all_of: Callable[[str], Sized]) -> bool:
    """Return whether a field by which we judge came more than once; `all_of` returns what came under a name."""
    return any(len(all_of(name)) > 1 for name in _JUDGED)


def token_refused(admin: Admin, method: str, path: str, authorization: str | None) -> bool:
    """Return whether the bearer token that the configuration asks for is missing or wrong."""
    if not admin.token or (path in OPEN and method in SAFE):
        return False
    scheme, _, given = (authorization or "").partition(" ")
    right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), admin.token.encode())
    return scheme.lower() != "bearer" or not right


def _name(host: str) -> str:
    """Return the host of `host`, `host:port` or `[v6]:port`, in lower case; "" for anything else."""
    found = _HOST.fullmatch(host)
    return (found["v6"] or found["name"]).lower().removesuffix(".") if found is not None else ""
