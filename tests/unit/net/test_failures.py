"""Errors of the network, by phase and cause, as reasons."""

from __future__ import annotations

import errno
import os
import ssl

import pytest

from balancer.model.reason import Reason
from balancer.net import failures


def os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (os_error(errno.ECONNREFUSED), Reason.CONNECT_REFUSED),
        (os_error(errno.ECONNRESET), Reason.CONNECT_REFUSED),
        (os_error(errno.EHOSTUNREACH), Reason.CONNECT_UNREACHABLE),
        (os_error(errno.ENETUNREACH), Reason.CONNECT_UNREACHABLE),
        (os_error(errno.EHOSTDOWN), Reason.CONNECT_UNREACHABLE),
        (os_error(errno.ETIMEDOUT), Reason.CONNECT_TIMEOUT),
        (TimeoutError(), Reason.CONNECT_TIMEOUT),
        (os_error(errno.EMFILE), Reason.NO_LOCAL_RESOURCES),
        (os_error(errno.ENFILE), Reason.NO_LOCAL_RESOURCES),
        (os_error(errno.EADDRNOTAVAIL), Reason.NO_LOCAL_RESOURCES),
        (os_error(errno.ENOBUFS), Reason.NO_LOCAL_RESOURCES),
        (os_error(errno.ENOMEM), Reason.NO_LOCAL_RESOURCES),
        (ssl.SSLCertVerificationError("untrusted"), Reason.UPSTREAM_TLS_UNTRUSTED),
        (ssl.SSLError("handshake"), Reason.UPSTREAM_TLS_FAILED),
        (RuntimeError("anything else"), Reason.CONNECT_REFUSED),
    ],
)
def test_a_connect_that_failed_has_a_reason(error: BaseException, reason: Reason) -> None:
    assert failures.connecting(error) is reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, Reason.UPSTREAM_CLOSED),
        (os_error(errno.ECONNRESET), Reason.UPSTREAM_RESET),
        (os_error(errno.EPIPE), Reason.UPSTREAM_RESET),
        (os_error(errno.ETIMEDOUT), Reason.UPSTREAM_RESET),
    ],
)
def test_a_connection_that_ended_before_the_answer_has_a_reason(error: Exception | None, reason: Reason) -> None:
    assert failures.waiting(error) is reason
