"""What a request head must be before it is served: where its two halves meet, and while it is not all here yet.

Pure: bytes and settings in, a block or `Bad` out. Source: load balancing notes, 2.1 to 2.3.
"""

from __future__ import annotations

from balancer.data.http.fields import CHUNKED, Bad
from balancer.data.http.memory import RequestMemory
from balancer.data.http.request_block import Block
from balancer.data.http.request_line import MAX_TARGET, Line, read_line
from balancer.model.reason import Reason
from balancer.model.snapshot import Listener

MAX_LINE = MAX_TARGET + 64  # of the request: its target, a method and a version


def unfinished(data: bytes, head_limit: int, *, line_seen: bool) -> bool:
    """Refuse at once what no further byte can mend; return whether the request line is here, and sound. Raises Bad.

    `line_seen`: it was here, and sound, when less of the head was.
    """
    if data[:1] == b"\x16":
        raise Bad(Reason.TLS_ON_PLAIN_PORT, "the first byte is that of a TLS handshake")
    at = data.find(b"\r\n")
    if at >= 0 and not line_seen:
        read_line(data[:at])
    if (at if at >= 0 else len(data)) > MAX_LINE:
        raise Bad(Reason.URI_TOO_LONG, "a request line without an end")
    if len(data) > head_limit:
        raise Bad(Reason.HEADER_TOO_LARGE, f"over {head_limit} bytes without an end")
    unpaired = data.removesuffix(b"\r").replace(b"\r\n", b"")  # a CR may be the last byte yet: its LF is to come
    if b"\n" in unpaired or b"\r" in unpaired:
        raise Bad(Reason.BAD_HEADER if at >= 0 else Reason.BAD_REQUEST, "a line that does not end in CRLF")
    return at >= 0


def meet(line: Line, block: Block, raw: bytes, spec: Listener, memory: RequestMemory) -> Block:
    """Decide what depends on both halves of a head; return the block to serve. Raises Bad.

    Nothing does where both are plain.
    """
    if line.minor == 0 and block.length == CHUNKED:
        raise Bad(Reason.FRAMING_CONFLICT, "Transfer-Encoding in an HTTP/1.0 request")
    if block.host is None:
        if line.minor == 1:
            raise Bad(Reason.BAD_HOST, "HTTP/1.1 without Host")
        if line.authority is not None:
            block = memory.block(b"\r\nHost: " + line.authority + raw)
    elif line.authority is not None and line.authority.lower() != block.raw_host.lower():
        raise Bad(Reason.BAD_HOST, "the Host line and the URL name different hosts")
    if block.max_forwards and line.method == b"OPTIONS":
        block = block.one_hop_less()
    if block.upgrade:
        block = _upgrade(line, block, raw, spec.upgrade)
    if line.method == b"TRACE":
        raise Bad(Reason.METHOD_NOT_ALLOWED, "TRACE is not passed on")
    if spec.limits.body and block.length > spec.limits.body:
        raise Bad(Reason.BODY_TOO_LARGE, f"{block.length} bytes, limits.body is {spec.limits.body}")
    return block


def _upgrade(line: Line, block: Block, raw: bytes, offered: tuple[str, ...]) -> Block:
    """An upgrade that is not offered is no fault: the request is served without it."""
    if block.upgrade.decode("latin-1") not in offered or line.minor == 0 or line.method != b"GET":
        return block.without_upgrade()
    if block.length:
        raise Bad(Reason.BAD_UPGRADE, "an upgrade request with a body")
    if block.upgrade == b"websocket" and b"\r\nsec-websocket-key:" not in raw.lower():
        raise Bad(Reason.BAD_UPGRADE, "no Sec-WebSocket-Key")
    return block
