"""Words that a later version will know: they get an answer of their own, not "unknown"."""

from __future__ import annotations

KEYS: dict[tuple[str, str], str] = {  # (the section, the key) → what to use until then
    ("", "scaling_groups"): "start more containers by hand: DNS discovery finds them",
    ("", "apis"): "use rules of a listener",
    ("", "consumers"): "use rules of a listener",
    ("listeners", "tls"): "use protocol: http, with something that ends TLS in front",
    ("listeners", "proxy_protocol"): "use trusted_proxies and X-Forwarded-For",
    ("target_groups", "sticky"): "use one target, or keep sessions outside the targets",
    ("target_groups", "rate_limit"): "write it in a rule, or use max_connections and queue",
    ("target_groups", "proxy_protocol"): "use X-Forwarded-For",
    ("target_groups", "tls"): "use protocol: http",
    ("discover", "docker"): "use dns: the name of the compose service",
}

LISTENER_PROTOCOLS = dict.fromkeys(("https", "tcp", "tcp_ssl", "udp"), "use http")
GROUP_PROTOCOLS = dict.fromkeys(("https", "grpc", "grpcs", "tcp", "tcp_ssl", "udp"), "use http")
POLICIES = {
    "peak_ewma": "use least_conn",
    "p2c": "use least_conn",
    "random": "use round_robin",
    "hash": "use round_robin",
    "ip_hash": "use round_robin",
}
CHECK_TYPES = {"grpc": "use tcp", "udp": "use off"}


def unavailable(word: str) -> str:
    """Return what is wrong with a word of a later version."""
    return f"'{word}' is not available in this version"
