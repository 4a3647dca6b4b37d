"""Why a request failed: one row per reason, the same word in log, metric, `Proxy-Status` and documentation.

Order is part of the shared-memory layout: append, never insert. Source of words, statuses and RFC 9209 errors:
the table of failures (load balancing notes, 2.18). 503 = we did not try, 502 = we tried and it failed, 504 = we waited.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """One failure word with the status a client gets, the RFC 9209 error type and a sentence for people.

    `status` 0: there is no answer of ours (the connection is aborted, or only a counter moves).
    """

    word: str
    status: int
    error: str
    sentence: str

    def __init__(self, word: str, status: int, error: str, sentence: str) -> None:
        self.word = word
        self.status = status
        self.error = error
        self.sentence = sentence

    # the client's fault
    BAD_REQUEST = ("bad_request", 400, "http_request_error", "the request is not valid HTTP/1.1")
    BAD_HEADER = ("bad_header", 400, "http_request_error", "a header field is malformed")
    BAD_HOST = ("bad_host", 400, "http_request_error", "the Host is missing, doubled or malformed")
    BAD_TARGET = ("bad_target", 400, "http_request_error", "the request target is malformed")
    BAD_CHUNK = ("bad_chunk", 400, "http_request_error", "the chunked body is malformed")
    BAD_UPGRADE = ("bad_upgrade", 400, "http_request_error", "the upgrade request is malformed")
    FRAMING_CONFLICT = ("framing_conflict", 400, "http_request_error", "the length of the body can be read in two ways")
    TLS_ON_PLAIN_PORT = ("tls_on_plain_port", 400, "http_request_error", "TLS was spoken on a plain HTTP port")
    PLAIN_ON_TLS_PORT = ("plain_on_tls_port", 400, "http_request_error", "plain HTTP was spoken on a TLS port")
    HEADER_TOO_LARGE = ("header_too_large", 431, "http_request_error", "the request head is larger than limits.head")
    URI_TOO_LONG = ("uri_too_long", 414, "http_request_error", "the request target is longer than 8 KiB")
    BODY_TOO_LARGE = ("body_too_large", 413, "http_request_error", "the body is larger than limits.body")
    UNSUPPORTED_CODING = ("unsupported_coding", 501, "http_request_error", "only the transfer coding chunked is known")
    UNSUPPORTED_METHOD = ("unsupported_method", 501, "http_request_error", "the method is not known")
    UNSUPPORTED_VERSION = (
        "unsupported_version",
        505,
        "http_request_error",
        "only HTTP/1.0 and HTTP/1.1 are spoken here",
    )
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, "http_request_error", "no rule allows this method here")
    EXPECTATION_FAILED = ("expectation_failed", 417, "http_request_error", "only the expectation 100-continue is known")
    HOST_SNI_MISMATCH = ("host_sni_mismatch", 421, "http_request_error", "the Host does not belong to this TLS session")
    CLIENT_HEADER_TIMEOUT = (
        "client_header_timeout",
        408,
        "http_request_error",
        "the request head did not arrive in time",
    )
    CLIENT_BODY_TIMEOUT = ("client_body_timeout", 408, "http_request_error", "the request body stopped arriving")
    CLIENT_TOO_SLOW = ("client_too_slow", 408, "http_request_error", "the client sent or read too slowly")
    CLIENT_CLOSED = ("client_closed", 499, "-", "the client left before the answer was complete")
    RATE_LIMITED = ("rate_limited", 429, "http_request_denied", "too many requests")
    IP_CONNECTION_LIMIT = ("ip_connection_limit", 429, "http_request_denied", "too many connections from this address")
    DENIED = ("denied", 403, "http_request_denied", "this client may not do that")
    # routing and configuration
    NO_RULE = ("no_rule", 404, "destination_not_found", "no rule of this listener matches the request")
    LOOP_DETECTED = ("loop_detected", 502, "proxy_loop_detected", "the request came through this balancer too often")
    NO_TARGETS = ("no_targets", 503, "destination_not_found", "the target group is empty")
    CONFIG_ERROR = ("config_error", 500, "proxy_configuration_error", "the configuration cannot serve this request")
    # upstream unavailable
    NO_HEALTHY_TARGET = ("no_healthy_target", 503, "destination_unavailable", "no target of the group can be used")
    QUEUE_FULL = (
        "queue_full",
        503,
        "connection_limit_reached",
        "every target is at max_connections and the queue is full",
    )
    QUEUE_TIMEOUT = ("queue_timeout", 503, "connection_limit_reached", "no target became free while the request waited")
    CONNECT_REFUSED = ("connect_refused", 502, "connection_refused", "the target refused the connection")
    CONNECT_UNREACHABLE = ("connect_unreachable", 502, "destination_ip_unroutable", "there is no route to the target")
    CONNECT_TIMEOUT = (
        "connect_timeout",
        504,
        "connection_timeout",
        "the target did not accept within timeouts.connect",
    )
    UPSTREAM_TLS_FAILED = ("upstream_tls_failed", 502, "tls_protocol_error", "the TLS handshake with the target failed")
    UPSTREAM_TLS_UNTRUSTED = (
        "upstream_tls_untrusted",
        502,
        "tls_certificate_error",
        "the target's certificate is not trusted",
    )
    NO_LOCAL_RESOURCES = (
        "no_local_resources",
        503,
        "proxy_internal_error",
        "descriptors, ports or memory ran out here",
    )
    # upstream failed on the request
    UPSTREAM_CLOSED = ("upstream_closed", 502, "connection_terminated", "the target closed before it answered")
    UPSTREAM_RESET = (
        "upstream_reset",
        502,
        "connection_terminated",
        "the target reset the connection before it answered",
    )
    UPSTREAM_WRITE_TIMEOUT = (
        "upstream_write_timeout",
        504,
        "connection_write_timeout",
        "the target stopped taking the request",
    )
    RESPONSE_TIMEOUT = ("response_timeout", 504, "http_response_timeout", "no answer within timeouts.response_header")
    REQUEST_TIMEOUT = ("request_timeout", 504, "http_response_timeout", "the request took longer than timeouts.request")
    BAD_RESPONSE = ("bad_response", 502, "http_protocol_error", "the target's answer is not valid HTTP/1.1")
    RESPONSE_HEADER_TOO_LARGE = (
        "response_header_too_large",
        502,
        "http_response_header_section_size",
        "the target's response head is larger than 64 KiB or has over 200 fields",
    )
    UPGRADE_FAILED = (
        "upgrade_failed",
        502,
        "http_upgrade_failed",
        "the target switched protocols without being asked to",
    )
    RESPONSE_TRUNCATED = (
        "response_truncated",
        0,
        "http_response_incomplete",
        "the target stopped in the middle of its answer",
    )
    RESPONSE_IDLE_TIMEOUT = (
        "response_idle_timeout",
        0,
        "connection_read_timeout",
        "the answer stalled for timeouts.response_idle",
    )
    UNSOLICITED_RESPONSE = ("unsolicited_response", 0, "-", "the target sent bytes that nobody asked for")
    TARGET_REMOVED = (
        "target_removed",
        502,
        "connection_terminated",
        "the target was removed and its drain time is over",
    )
    # the balancer
    OVERLOADED = ("overloaded", 503, "proxy_internal_response", "the balancer is overloaded")
    SHUTTING_DOWN = ("shutting_down", 503, "proxy_internal_response", "the balancer is stopping")
    INTERNAL_ERROR = ("internal_error", 500, "proxy_internal_error", "a fault of the balancer itself")
    WORKER_LOST = ("worker_lost", 0, "-", "the worker that served the request was lost")
    # connections without a status
    IDLE_TIMEOUT = ("idle_timeout", 0, "-", "both directions were silent for too long")
    CONNECTION_LIMIT = ("connection_limit", 0, "-", "the listener is at limits.connections")
    # retries only: causes that are not failures of a request
    RESCUE = ("rescue", 0, "-", "the target turned unhealthy and the request was moved elsewhere")
    BUDGET = ("budget", 0, "-", "a retry was due but the retry budget was spent")
    REUSE_RACE = ("reuse_race", 0, "-", "a pooled connection closed as the request was sent; a new one was taken")
    UPSTREAM_STATUS = ("upstream_status", 0, "-", "the target's status is one that retry.on has tried elsewhere")


REASONS: tuple[Reason, ...] = tuple(Reason)
REASON_CODES: dict[Reason, int] = {reason: code for code, reason in enumerate(REASONS)}
