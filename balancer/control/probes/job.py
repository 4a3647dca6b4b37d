"""job: what one probe is to do, what it saw, and the word for what went wrong."""

from __future__ import annotations

import errno
import os
import ssl
from dataclasses import dataclass, field

from balancer.model.names import ProbeResult
from balancer.model.snapshot import HealthCheck, Target, TargetGroup

KEPT = 200  # bytes of a wrong answer that are kept for people

_REFUSED = {errno.ECONNREFUSED}
_TIMED_OUT = {errno.ETIMEDOUT}
_BROKEN = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}
_LOCAL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


class LocalTrouble(Exception):
    """The probe failed for a want of this machine (descriptors, ports, memory): it says nothing about the target."""


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to probe. Targets of several groups that have the same job share its probes."""

    ip: str
    port: int
    host: str  # what the Host field says
    check: HealthCheck
    _hash: int = field(init=False, repr=False, compare=False)  # a job is looked up ten times a probe

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.ip, self.port, self.host, self.check)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Seen:
    """What a probe saw; `body` only where the answer was wrong."""

    result: ProbeResult
    detail: str = ""
    body: str = ""
    drain: bool = False  # it asks to be drained


def job_of(group: TargetGroup, target: Target) -> Job | None:
    """Return what is to be probed, or None: no check, no address yet, or disabled."""
    check = group.health_check
    if check is None or not target.ip or target.disabled:
        return None
    return Job(target.ip, check.port or target.port, check.host or target.address, check)


def failed(error: BaseException) -> Seen:
    """Return the result that an error on the way means; raises LocalTrouble where it means nothing."""
    if isinstance(error, TimeoutError) and not error.errno:
        return Seen(ProbeResult.TIMEOUT, "no answer in time")
    if isinstance(error, ssl.SSLError):
        return Seen(ProbeResult.TLS_FAILED, str(error)[:KEPT])
    if isinstance(error, OSError):
        number = error.errno or 0
        said = os.strerror(number).lower() if number else str(error)[:KEPT]
        if number in _LOCAL:
            raise LocalTrouble(said) from error
        if number in _REFUSED:
            return Seen(ProbeResult.REFUSED, said)
        if number in _TIMED_OUT:
            return Seen(ProbeResult.TIMEOUT, said)
        if number in _BROKEN:
            return Seen(ProbeResult.BAD_PROTOCOL, f"the connection broke: {said}")
        return Seen(ProbeResult.UNREACHABLE, said)
    return Seen(ProbeResult.BAD_PROTOCOL, (str(error) or type(error).__name__)[:KEPT])
