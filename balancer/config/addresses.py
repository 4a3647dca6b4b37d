"""Typed readers of addresses: where to listen, whom to dial, whom to trust."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Annotated

from balancer.config.fields import Read, shown, text_of, wrong

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1/128", "fc00::/7")
UNIX = "unix:"  # before the path of a socket
LONGEST_SOCKET = 107  # bytes of its path. Source: unix(7), sun_path

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)


def split_address(text: str) -> tuple[str, int] | None:
    """Return host and port of `host:port` or `[v6]:port`, or None."""
    host, colon, port = text.rpartition(":")
    if not colon or re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) is None or int(port) > 65535:
        return None
    if host.startswith("[") and host.endswith("]"):
        return (host[1:-1], int(port)) if literal(host[1:-1]) else None
    return None if ":" in host else (host, int(port))


@lru_cache(maxsize=32 * 1024)  # an address is looked at several times on its way through the checks
def literal(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a text is, None if it is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_ip(host: str) -> bool:
    """Return whether a host is a literal address."""
    return literal(host) is not None


def is_host_name(host: str) -> bool:
    """Return whether a host is a name that DNS could know; underscores are allowed, as compose has them."""
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def _bind(value: object, anywhere: str = "0.0.0.0") -> str:
    example = f"an address and a port: {anywhere}:8080"
    if isinstance(value, int) and not isinstance(value, bool):
        raise wrong(f"{shown(value)} is only a port", f"write {anywhere}:{value}")
    text = text_of(value, example)
    parts = split_address(text)
    if parts is None:
        if is_ip(text):
            raise wrong(f"{shown(text)} has no port", f"write {f'[{text}]' if ':' in text else text}:8080")
        raise wrong(f"{shown(text)} is not an address and a port", "write it like 0.0.0.0:8080 or [::]:8080")
    host, port = parts
    if not host or host == "*":
        raise wrong(f"{shown(text)} has no address", f"write {anywhere}:{port}")
    if host == "localhost":
        raise wrong("an address to listen on is a number", f"write 127.0.0.1:{port}")
    if not is_ip(host):
        raise wrong(f"'{host}' is not an address of this machine", f"write {anywhere}:{port}")
    return text


def _dial(value: object) -> str:
    example = "a host and a port: backend-a:8000"
    if isinstance(value, int) and not isinstance(value, bool):
        raise wrong(f"{shown(value)} is only a port", f"write 127.0.0.1:{value}")
    text = text_of(value, example)
    scheme, separator, rest = text.partition("://")
    if separator:
        raise wrong(f"{shown(text)} is a URL", f"write {rest.split('/')[0] or 'host:port'} without {scheme}://")
    parts = split_address(text)
    if parts is None:
        if is_ip(text) or is_host_name(text):
            raise wrong(f"{shown(text)} has no port", f"write {f'[{text}]' if ':' in text else text}:8000")
        raise wrong(f"{shown(text)} is not a host and a port", f"write {example}")
    host, port = parts
    if not (is_ip(host) or is_host_name(host)):
        raise wrong(f"'{host}' is not a host" if host else f"{shown(text)} has no host", f"write {example}")
    if port == 0:
        raise wrong("nobody answers on port 0", f"write {host}:8000")
    return text


def _admin(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not text.startswith(UNIX):
        return _bind(value, "127.0.0.1")
    path = text.removeprefix(UNIX)
    if not path.startswith("/") or path.endswith("/"):
        raise wrong(f"{shown(text)} is not the full path of a socket", f"write {UNIX}/run/balancer/admin.sock")
    if not all(" " <= character != "\x7f" for character in path):
        raise wrong(f"{shown(text)} has a control character in it", "write the path of a socket")
    if len(path.encode(errors="replace")) > LONGEST_SOCKET:
        raise wrong("the path of a socket is longer than the system allows", f"at most {LONGEST_SOCKET} bytes")
    return text


BindAddress = Annotated[str, Read(_bind, {"type": "string"})]
AdminAddress = Annotated[str, Read(_admin, {"type": "string"})]
DialAddress = Annotated[str, Read(_dial, {"type": "string"})]


def _host_name(value: object) -> str:
    text = text_of(value, "the name of a service, such as backend-a")
    if is_ip(text):
        raise wrong(f"{shown(text)} is an address", "write it under targets")
    if not is_host_name(text):
        host = text.partition("://")[2] or text
        host = host.partition("/")[0].partition(":")[0]
        if host != text and is_host_name(host):
            raise wrong(f"{shown(text)} is more than a name", f"write dns: {host} and the port beside it")
        raise wrong(f"{shown(text)} is not a host name", "write the name of a service, such as backend-a")
    return text


HostName = Annotated[str, Read(_host_name, {"type": "string"})]


def _network(value: object) -> tuple[str, ...]:
    text = text_of(value, "a network such as 10.0.0.0/8, or private")
    if text == "private":
        return PRIVATE
    try:
        return (str(ipaddress.ip_network(text)),)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise wrong(f"{shown(text)} is not a network", "write a network such as 10.0.0.0/8, or private") from None
    raise wrong(f"{shown(text)} has bits outside its mask", f"write {meant}")


Network = Annotated[
    tuple[str, ...],
    Read(_network, {"type": "string", "description": "a network, or the word private"}),
]
