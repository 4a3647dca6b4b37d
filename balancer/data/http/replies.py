"""Answers of our own: what a client gets when the balancer, not a target, makes the status."""

from __future__ import annotations

import json
import re
import time
from email.utils import formatdate
from http import HTTPStatus

from balancer.model.reason import Reason

ALLOW = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"  # where no rule says more
Headers = tuple[tuple[str, str], ...]
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    421: "Misdirected Request",
}


def wants_json(accept: str) -> bool:
    """Return whether an Accept header takes a problem document; nothing said takes it."""
    if not accept:
        return True
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return any(
        kind in ("*/*", "application/*", "application/json", "application/problem+json") for kind in kinds
    ) and not (kinds[0].startswith("text/") and kinds[0] != "text/*")


_ACCEPT = re.compile(rb"\r\naccept:[ \t]*([^\r]*)", re.IGNORECASE)


def accept_of(lines: bytes) -> str:
    """Return the Accept header among rewritten header lines, "" if there is none."""
    match = _ACCEPT.search(b"\r\n" + lines)
    return match[1].decode("latin-1") if match else ""


def failure(
    reason: Reason,
    *,
    request_id: str,
    as_json: bool,
    is_head: bool,
    close: bool,
    status: int = 0,
    detail: str = "",
    headers: Headers = (),
    keep_alive: bool = False,
) -> tuple[int, bytes]:
    """Return (status, the whole answer) for a failure; `detail` is for the client: no target, no address."""
    status = status or reason.status
    sentence = f"{reason.sentence}{': ' + detail if detail else ''}"
    if as_json:
        problem = {
            "type": f"urn:balancer:reason:{reason.word}",
            "title": _PHRASES.get(status, "Error"),
            "status": status,
            "detail": sentence,
            "reason": reason.word,
            "request_id": request_id,
        }
        kind, body = "application/problem+json", json.dumps(problem).encode() + b"\n"
    else:
        kind = "text/plain; charset=utf-8"
        body = f"{status} {reason.word}: {sentence} (request {request_id})\n".encode()
    extra = [("Proxy-Status", f'balancer; error={reason.error}; details="{reason.word}"'), *headers]
    if status in (429, 503) and not any(name == "Retry-After" for name, _ in headers):
        extra.append(("Retry-After", "1"))
    return status, answer(
        status,
        kind,
        body,
        request_id=request_id,
        is_head=is_head,
        close=close,
        headers=tuple(extra),
        keep_alive=keep_alive,
    )


def answer(
    status: int,
    kind: str,
    body: bytes,
    *,
    request_id: str,
    is_head: bool,
    close: bool,
    headers: Headers = (),
    keep_alive: bool = False,
) -> bytes:
    """Return a whole response with what every answer of ours carries; `keep_alive` says so to an HTTP/1.0 client."""
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, '')}",
        f"Date: {formatdate(time.time(), usegmt=True)}",
        "Server: balancer",
        "Cache-Control: no-store",
        *(f"{name}: {value}" for name, value in headers),
    ]
    bodiless = status < 200 or status in (204, 304)
    if not bodiless:
        if kind:
            lines.append(f"Content-Type: {kind}")
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    elif keep_alive:
        lines.append("Connection: keep-alive")
    lines.append(f"X-Request-ID: {request_id}")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    return head if is_head or bodiless else head + body
