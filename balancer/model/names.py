"""The closed sets of words: each value is the word as it stands in YAML, metrics and logs."""

from __future__ import annotations

from enum import StrEnum


class Protocol(StrEnum):
    """How a listener is spoken to, or how a target group's targets are."""

    HTTP = "http"
    HTTPS = "https"
    GRPC = "grpc"
    GRPCS = "grpcs"
    TCP = "tcp"
    TCP_SSL = "tcp_ssl"
    UDP = "udp"


class PolicyName(StrEnum):
    """How a target is picked."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONN = "least_conn"


class ZoneMode(StrEnum):
    """How the zones of a group share its traffic."""

    SPREAD = "spread"
    LOCAL_FIRST = "local_first"
    ACTIVE_BACKUP = "active_backup"


class CheckType(StrEnum):
    """What a health check speaks."""

    HTTP = "http"
    TCP = "tcp"


class State(StrEnum):
    """The states of a target; `code` is its number in shared memory (append only)."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    EJECTED = "ejected"
    DRAINING = "draining"
    DISABLED = "disabled"

    @property
    def code(self) -> int:
        return STATE_CODES[self]


STATES: tuple[State, ...] = tuple(State)
STATE_CODES: dict[State, int] = {state: code for code, state in enumerate(STATES)}


class Evidence(StrEnum):
    """How sure it is that an unavailable target is down; panic uses soft ones, hard ones only as the very last."""

    NONE = "none"
    SOFT = "soft"  # timeout, bad status, bad body, ejected: something listens there
    HARD = "hard"  # refused, unreachable, address gone: nothing listens there

    @property
    def code(self) -> int:
        return EVIDENCE_CODES[self]


EVIDENCES: tuple[Evidence, ...] = tuple(Evidence)
EVIDENCE_CODES: dict[Evidence, int] = {evidence: code for code, evidence in enumerate(EVIDENCES)}


class ProbeResult(StrEnum):
    """What one probe found."""

    OK = "ok"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS_FAILED = "tls_failed"
    BAD_STATUS = "bad_status"
    BAD_BODY = "bad_body"
    BAD_PROTOCOL = "bad_protocol"
    NAME_NOT_FOUND = "name_not_found"

    @property
    def evidence(self) -> Evidence:
        """Return how sure this result makes it that nothing listens there."""
        if self is ProbeResult.OK:
            return Evidence.NONE
        if self in (ProbeResult.REFUSED, ProbeResult.UNREACHABLE, ProbeResult.NAME_NOT_FOUND):
            return Evidence.HARD
        return Evidence.SOFT
