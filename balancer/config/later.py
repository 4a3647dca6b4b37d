"""Words that a later version will know: they get an answer of their own, not "unknown"."""

from __future__ import annotations

KEYS: dict[tuple[str, str], str] = {  # (the section, the key) → what to use until then
    ("", "scaling_groups"): "start more containers by hand: DNS discovery finds them",
    ("", "apis"): "use rules of a listener",
    ("", "consumers"): "use rules of a listener",
    ("", "stop_delay"): "have what stands in front ask /readyz, and stop after that; a stop begins at once",
    ("access_log", "sample"): "sample where the lines are read; every request has its line",
    ("listeners", "tls"): "use protocol: http, with something that ends TLS in front",
    ("listeners", "proxy_protocol"): "use trusted_proxies and X-Forwarded-For",
    ("listeners", "underscores"): "remove it: such fields are kept, but for those that would pass for another",
    ("listeners", "strict_target"): "remove it: what browsers send unescaped is passed on",
    ("listeners", "encoded_slash"): "remove it: %2F and %5C are kept as data",
    ("listeners", "path_params"): "remove it: ;params are kept as part of the path",
    ("listeners", "allow_trace"): "remove it: TRACE always gets 405",
    ("listeners", "forwarded"): "use X-Forwarded-For, which is always sent",
    ("listeners", "via"): "remove it: no Via is added",
    ("listeners", "expose_targets"): "use the access log, or balancer explain",
    ("passive", "success_rate"): "use consecutive_gateway_failures or consecutive_5xx",
    ("target_groups", "max_idle"): "remove it: a worker keeps at most 1024 idle connections to a target",
    ("target_groups", "max_age"): "remove it: a connection is used for 10 minutes",
    ("target_groups", "min_idle"): "remove it: connections are made when they are needed",
    ("target_groups", "max_requests"): "use max_connections, which holds for each target",
    ("target_groups", "aggression"): "use slow_start: the weight grows evenly",
    ("target_groups", "resolve_interval"): "remove it: names are resolved every 5 s, sooner when a target is not well",
    ("target_groups", "family"): "use a name that has only the addresses wanted; IPv4 comes first",
    ("discover", "resolve_interval"): "remove it: names are resolved every 5 s, sooner when a target is not well",
    ("discover", "family"): "use a name that has only the addresses wanted; IPv4 comes first",
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
    "hash": "use a rule with match.headers for each value, or round_robin",
    "ip_hash": "use round_robin",
}
CHECK_TYPES = {"grpc": "use tcp", "udp": "use off"}


def unavailable(word: str) -> str:
    """Return what is wrong with a word of a later version."""
    return f"'{word}' is not available in this version"
