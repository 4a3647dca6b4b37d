"""Typed readers of what rules and checks say about HTTP: hosts, paths, methods, header fields, statuses, Locations."""

from __future__ import annotations

import re
from typing import Annotated, Any

from balancer.config.addresses import is_host_name, is_ip
from balancer.config.environment import Substituted
from balancer.config.fields import Read, nearest, shown, text_of, wrong
from balancer.config.yaml12 import plain

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_FRAMING = ("content-length", "transfer-encoding")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_RANGE = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?", re.ASCII)
PLACEHOLDERS = ("scheme", "host", "port", "path", "query")
_VARIABLES = {"scheme": "scheme", "host": "host", "http_host": "host", "server_name": "host", "server_port": "port"}
_VARIABLES |= {"request_uri": "path", "uri": "path", "document_uri": "path", "args": "query", "query_string": "query"}
MAX_PATTERN = 8192


def _method(value: object) -> str:
    text = text_of(value, "a method such as GET")
    if _TOKEN.fullmatch(text) is None:
        raise wrong(f"{shown(text)} is not a method", "write a method such as GET")
    if text != text.upper():
        raise wrong(f"{shown(text)} is in lower case", f"write {text.upper()}")
    return text


Method = Annotated[str, Read(_method, {"type": "string", "pattern": "^[A-Z0-9_-]+$"})]


def _header_name(value: object) -> str:
    text = text_of(value, "the name of a header, such as x-beta")
    if _TOKEN.fullmatch(text) is None:
        raise wrong(f"{shown(text)} is not the name of a header", "write a name such as x-beta")
    return text


def _header_value(value: object) -> str:
    text = text_of(value, "text")
    if _CONTROL.search(text) or text != text.strip():
        raise wrong(f"{shown(text)} cannot be a header", "write one line, without spaces around it")
    return text


def _sent_value(value: object) -> str:
    text = _header_value(value)
    if any(character > "\xff" for character in text):
        raise wrong(f"{shown(text)} cannot be sent in a header", "write ASCII")
    return text


def _probe_header_name(value: object) -> str:
    text = _header_name(value)
    if text.lower() in _FRAMING:
        raise wrong(f"a check has no body, so {text} would be untrue", "remove it")
    return text


HeaderName = Annotated[str, Read(_header_name, {"type": "string"})]
HeaderValue = Annotated[str, Read(_header_value, {"type": "string"})]
SentValue = Annotated[str, Read(_sent_value, {"type": "string"})]
ProbeHeaderName = Annotated[str, Read(_probe_header_name, {"type": "string"})]


def _rate_key(value: object) -> str:
    text = text_of(value, "client_ip, or header:x-api-key")
    kind, _, name = text.partition(":")
    if kind == "header" and _TOKEN.fullmatch(name):
        return f"header:{name.lower()}"
    if text != "client_ip":
        raise wrong(f"{shown(text)} is not known here", "write client_ip, or header:x-api-key")
    return text


RateKey = Annotated[str, Read(_rate_key, {"type": "string", "pattern": "^(client_ip|header:.+)$"})]


# patterns of rules


def _host_pattern(value: object) -> str:
    text = text_of(value, "a host such as api.example.com")
    host = text.removesuffix(".").lower()
    if host in ("*", ""):
        raise wrong(f"{shown(text)} is every host", "leave hosts out")
    if host.startswith("["):
        if host.endswith("]") and is_ip(host[1:-1]):
            return host
        raise wrong(f"{shown(text)} is not a host", "write it without port: [::1]")
    if "://" in host:
        bare = host.partition("://")[2].partition("/")[0]
        raise wrong(f"{shown(text)} is a URL", f"write {bare}" if is_host_name(bare) else "write the host alone")
    if ":" in host:
        remedy = f"write [{host}]" if is_ip(host) else f"write {host.rpartition(':')[0]}"
        raise wrong(f"{shown(text)} is more than a host", remedy)
    if not host.isascii():
        raise wrong(f"{shown(text)} is not in the form that clients send", f"write {_a_label(host)}")
    name = host.removeprefix("*.")
    if "*" in name:
        raise wrong(f"{shown(text)} has a '*' that is not the first label", "write *.example.com")
    if not (is_ip(name) or is_host_name(name)):
        raise wrong(f"{shown(text)} is not a host", "write api.example.com or *.example.com")
    return host


def _a_label(host: str) -> str:
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return "its xn-- form"


def _path_pattern(value: object) -> str:
    text = text_of(value, "a path such as /v1/")
    if not text.isprintable() or len(text) > MAX_PATTERN:
        raise wrong(f"{shown(text)} is not a path", "write printable characters, percent-encoded where needed")
    if text.startswith("~"):
        return text
    path = text.removeprefix("=")
    if not path.startswith("/"):
        raise wrong(
            f"{shown(text)} does not begin with '/'", f"write {'=' if path != text else ''}/{path.lstrip('^~= /')}"
        )
    if path.endswith("*"):
        raise wrong(f"{shown(text)} has a '*'", f"write {path.rstrip('*')}: a path matches all below it")
    if "?" in path:
        raise wrong(f"{shown(text)} has a query in it", f"write {path.partition('?')[0]}, and the query under query:")
    return text


HostPattern = Annotated[str, Read(_host_pattern, {"type": "string"})]
PathPattern = Annotated[str, Read(_path_pattern, {"type": "string", "pattern": "^(=?/|~)"})]


def _url_path(value: object) -> str:
    text = text_of(value, "a path such as /healthz")
    if not text.startswith("/"):
        path = text.partition("://")[2].partition("/")[2] if "://" in text else text
        raise wrong(f"{shown(text)} does not begin with '/'", f"write /{path}")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise wrong(f"{shown(text)} cannot stand in a request", "percent-encode it")
    return text


UrlPath = Annotated[str, Read(_url_path, {"type": "string", "pattern": "^/"})]


# answers


def _location(value: object) -> str:
    text = text_of(value, "where to: https://{host}{path}")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise wrong(f"{shown(text)} cannot be a Location", "percent-encode it")
    for name in re.findall(r"\$([a-z_]+)", text):  # as nginx writes them
        meant = _VARIABLES.get(name)
        remedy = f"write {{{meant}}}" if meant else "write {scheme}, {host}, {port}, {path} or {query}; %24 is a dollar"
        raise wrong(f"${name} is not known here", remedy)
    for word in re.findall(r"\{([^{}]*)\}", text):
        if word not in PLACEHOLDERS:
            meant = nearest(word, PLACEHOLDERS)
            remedy = f"write {{{meant}}}" if meant else "write {scheme}, {host}, {port}, {path} or {query}"
            raise wrong(f"{{{word}}} is not known here", remedy)
    if "{" in (bare := re.sub(r"\{[^{}]*\}", "", text)) or "}" in bare:
        raise wrong(f"{shown(text)} has a brace too many", "write {path}, or %7B and %7D for braces")
    if not text.startswith(("http://", "https://", "{scheme}://", "/", "{path}")):
        raise wrong(f"{shown(text)} leads nowhere", "begin with https://, {scheme}:// or /")
    return text


Location = Annotated[str, Read(_location, {"type": "string"})]


def _redirect_status(value: object) -> int:
    number = plain(value) if isinstance(value, Substituted) else value
    if number in (301, 302, 303, 307, 308) and isinstance(number, int):
        return number
    raise wrong(f"{shown(value)} does not redirect", "write 301, 302, 303, 307 or 308")


RedirectStatus = Annotated[int, Read(_redirect_status, {"type": "integer", "enum": [301, 302, 303, 307, 308]})]


def _statuses(value: object) -> tuple[tuple[int, int], ...]:
    items = value if isinstance(value, tuple) else (value,)
    if not items:
        raise wrong("is empty", "write 200-399")
    ranges = []
    for item in items:
        for part in str(item).split(",") if isinstance(item, str | int) and not isinstance(item, bool) else ("",):
            found = _RANGE.fullmatch(part.strip())
            if found is None:
                raise wrong(f"{shown(part.strip() or item)} is not a status or a range", "write 200-399, or [200, 204]")
            low, high = int(found[1]), int(found[2] or found[1])
            if high < low:
                raise wrong(f"{shown(part.strip())} is an empty range", f"write {high}-{low}")
            ranges.append((low, high))
    return tuple(ranges)


_ONE: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 100, "maximum": 599}]}
Statuses = Annotated[
    tuple[tuple[int, int], ...],
    Read(_statuses, {"anyOf": [*_ONE["anyOf"], {"type": "array", "items": _ONE}]}),
]
