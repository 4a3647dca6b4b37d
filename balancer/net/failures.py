"""What went wrong, by phase and cause: where the data path turns an error of the network into a reason."""

from __future__ import annotations

import errno
import ssl

from balancer.model.reason import Reason

_UNREACHABLE = frozenset((errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN))
_LOCAL = frozenset((errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM))


def connecting(error: BaseException) -> Reason:
    """Return why a connection could not be made. No request byte was written: every method may be tried again."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Reason.UPSTREAM_TLS_UNTRUSTED
    if isinstance(error, ssl.SSLError):
        return Reason.UPSTREAM_TLS_FAILED
    if isinstance(error, TimeoutError):  # ETIMEDOUT too
        return Reason.CONNECT_TIMEOUT
    code = error.errno if isinstance(error, OSError) else None
    if code in _UNREACHABLE:
        return Reason.CONNECT_UNREACHABLE
    if code in _LOCAL:
        return Reason.NO_LOCAL_RESOURCES
    return Reason.CONNECT_REFUSED


def waiting(error: BaseException | None) -> Reason:
    """Return why a connection ended after the request was sent and before the response head; None: a plain close."""
    return Reason.UPSTREAM_CLOSED if error is None else Reason.UPSTREAM_RESET
