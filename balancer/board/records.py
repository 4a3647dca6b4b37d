"""Records: what is kept of a finished request, as the bytes of a slot and as a value. Pure.

    0    number of the record           8   begin: seconds since 1970
    16   bytes in, bytes out            32  duration, first byte, connect, queue: seconds
    48   target, scene                  56  status, upstream status, reason, retries, flags
    64   listener, group, rule, configuration version, revision  (`CONTEXT`)
    84   plain:     id line, host, method and path, each cut to its field
         detailed:  lengths (`LENGTHS`), tries (`TRY`), full targets, then id, method, host, path, detail
    -8   the number again, written last

Rules
1. Numbers only, and of text what an access log shows: no query, no header but the id and the Host.
2. Listener, group and target are places on the board (`slots`): they outlive reloads; the reader has the names.
3. Both forms are the same up to 84, and fit a slot of any size; what does not fit is cut, and the record says so.
4. Reasons are codes + 1; 0 is none.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from balancer.board import layout

NONE = 0xFFFF_FFFF  # no place on the board
# Flags. UPSTREAM: the status is the target's; AT_ONCE: the first byte was the last, and no other status came before.
REUSED, UPSTREAM, DETAILED, CUT, OPEN, AT_ONCE = 1, 2, 4, 8, 16, 32
MOST_ID, MOST_METHOD = 128, 16  # bytes in a detailed record
MOST_TRIES = 4
MOST_PASSED = 4

_HEAD = struct.Struct("@QdQQffffIIHHBBBx20s")
CONTEXT = struct.Struct("@IIiII")
LENGTHS = struct.Struct("@BBBBHHB")
TRY = struct.Struct("@IfffBBxx")
_MARK = struct.Struct("@Q")
_PASSED = struct.Struct("@I")
ID, HOST, TOLD = 40, 44, 80  # bytes of the texts of a plain record
# A plain record in one call: no reason, no retries, no queue. WHOLE is the commonest one (AT_ONCE): no body came in, it
# went over an idle connection; target and scene are packed already (`PLACED`). hot.
PLAIN = struct.Struct(f"@QdQQfff4xIIHHxxBx20s{ID}s{HOST}s{TOLD}sQ")
WHOLE = struct.Struct(f"@Qd8xQf12x8sH4xBx20s{ID}s{HOST}s{TOLD}sQ")
PLACED = struct.Struct("@II")
_ID_PREFIX = b"X-Request-ID: "
_TAIL = _HEAD.size
_FLAGS_AT = struct.calcsize("@QdQQffffIIHHBB")
_TRIES_AT, _PASSED_AT = 3, 8  # in LENGTHS
_CR = 13


@dataclass(frozen=True, slots=True)
class Try:
    """One try: its target's place on the board, why it ended (0: well); seconds from the request's begin to its own,
    to connect, and in all."""

    target: int
    reason: int
    start: float
    connect: float
    seconds: float
    reused: bool


@dataclass(frozen=True, slots=True)
class Record:
    """One request. Times in seconds, `started` since 1970; `first_byte` below 0: none came. `rule` -1: none matched.

    `cut`: host or path were longer than what was kept. `open`: it was under way when this was written. `passed`:
    targets whose turn it was, but that were at max_connections.
    """

    number: int
    started: float
    request_id: str
    method: str
    host: str
    path: str
    status: int
    duration: float
    first_byte: float = -1.0
    connect: float = 0.0
    queue: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    target: int = NONE
    scene: int = 0
    upstream_status: int = 0
    reason: int = 0
    retries: int = 0
    reused: bool = False
    from_upstream: bool = False
    cut: bool = False
    open: bool = False
    listener: int = NONE
    group: int = NONE
    rule: int = -1
    version: int = 0
    revision: int = 0
    tries: tuple[Try, ...] = ()
    passed: tuple[int, ...] = ()
    detail: str = ""


def pack(
    number: int,
    size: int,
    *,
    started: float,
    context: bytes,
    request_id: bytes,
    method: bytes,
    host: bytes,
    path: bytes,
    status: int,
    duration: float,
    first_byte: float = -1.0,
    connect: float = 0.0,
    queue: float = 0.0,
    bytes_in: int = 0,
    bytes_out: int = 0,
    target: int = NONE,
    scene: int = 0,
    upstream_status: int = 0,
    reason: int = 0,
    retries: int = 0,
    flags: int = 0,
    tries: Sequence[Try] = (),
    passed: Sequence[int] = (),
    detail: bytes = b"",
) -> bytes:
    """Return a detailed record for a slot of `size` bytes. What is too much is cut: detail, path, host, tries.

    An id and a method of the greatest length fit every slot.
    """
    room = size - _TAIL - LENGTHS.size - _MARK.size
    request_id, method = request_id[:MOST_ID], method[:MOST_METHOD]
    room -= len(request_id) + len(method)
    most = min(MOST_TRIES, max(1, (room - 24) // TRY.size))
    if room < TRY.size:  # beside the longest ids there is none
        kept: Sequence[Try] = ()
    else:
        kept = tries if len(tries) <= most else [*tries[: most - 1], tries[-1]]  # the first ones, and how it ended
    room -= len(kept) * TRY.size
    full = passed[: min(MOST_PASSED, max(0, (room - 24) // _PASSED.size))]
    room -= len(full) * _PASSED.size
    shown_host = host[: min(255, room // 2)]
    room -= len(shown_host)
    shown_path = path[:room]
    room -= len(shown_path)
    detail = detail[:room]
    flags |= DETAILED | (CUT if len(shown_host) < len(host) or len(shown_path) < len(path) else 0)
    head = _HEAD.pack(
        number,
        started,
        bytes_in,
        bytes_out,
        duration,
        first_byte,
        connect,
        queue,
        target,
        scene,
        status,
        upstream_status,
        reason,
        min(retries, 255),
        flags,
        context,
    )
    lengths = LENGTHS.pack(
        len(request_id), len(method), len(shown_host), len(kept), len(shown_path), len(detail), len(full)
    )
    packed = b"".join(TRY.pack(one.target, one.start, one.connect, one.seconds, one.reason, one.reused) for one in kept)
    packed += b"".join(map(_PASSED.pack, full))
    text = request_id + method + shown_host + shown_path + detail
    return (head + lengths + packed + text).ljust(size - _MARK.size, b"\0") + _MARK.pack(number)


def again(record: Record, number: int, size: int, *, reason: int, now: float) -> bytes:
    """Return the record of an open request as that of one that ended `now` (seconds since 1970) for that reason."""
    past = list(record.tries)
    if past:
        end = past[-1]
        past[-1] = Try(end.target, reason, end.start, end.connect, now - record.started - end.start, end.reused)
    return pack(
        number,
        size,
        started=record.started,
        context=CONTEXT.pack(record.listener, record.group, record.rule, record.version, record.revision),
        request_id=record.request_id.encode("latin-1"),
        method=record.method.encode("latin-1"),
        host=record.host.encode("latin-1"),
        path=record.path.encode("latin-1"),
        status=record.status,
        duration=now - record.started,
        first_byte=record.first_byte,
        connect=record.connect,
        queue=record.queue,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        target=record.target,
        scene=record.scene,
        upstream_status=record.upstream_status,
        reason=reason,
        retries=record.retries,
        flags=(REUSED * record.reused) | (UPSTREAM * record.from_upstream) | (CUT * record.cut),
        tries=past,
        passed=record.passed,
        detail=record.detail.encode(),
    )


def number_of(view: memoryview[int], start: int, request_id: bytes, offset: int) -> int:
    """Return the number of the record in a slot, 0 if these letters, `offset` bytes after its start, are not its id.

    `view`: bytes in which the slot begins at `start`. Costs a tenth of unpacking it.
    """
    at, end = _TAIL + len(_ID_PREFIX), start + offset + len(request_id)
    if view[start + _FLAGS_AT] & DETAILED:
        lengths = start + _TAIL
        at = _TAIL + LENGTHS.size + view[lengths + _TRIES_AT] * TRY.size + view[lengths + _PASSED_AT] * _PASSED.size
        whole = view[lengths] == len(request_id)
    else:
        whole = end == start + _TAIL + ID or view[end] == _CR
    return int(_MARK.unpack_from(view, start)[0]) if whole and offset == at else 0


def unpack(slot: bytes) -> Record | None:
    """Return the record in a slot; None if there is none, or not a whole one."""
    number = _MARK.unpack_from(slot, 0)[0]
    if not number or _MARK.unpack_from(slot, len(slot) - _MARK.size)[0] != number:
        return None
    fields = _HEAD.unpack_from(slot, 0)
    _, started, bytes_in, bytes_out, duration, first_byte, connect, queue = fields[:8]
    target, scene, status, upstream_status, reason, retries, flags, context = fields[8:]
    listener, group, rule, version, revision = CONTEXT.unpack(context)
    tries: tuple[Try, ...] = ()
    passed: tuple[int, ...] = ()
    detail = b""
    if flags & DETAILED:
        found = _texts(slot)
        if found is None:
            return None
        request_id, method, host, path, detail, tries, passed = found
        cut = bool(flags & CUT)
    else:
        at = _TAIL
        request_id = slot[at + len(_ID_PREFIX) : at + ID].partition(b"\r")[0]
        host = slot[at + ID : at + ID + HOST].rstrip(b"\0")
        told = slot[at + ID + HOST : at + ID + HOST + TOLD].rstrip(b"\0")
        method, _, path = told.partition(b" ")
        cut = len(host) == HOST or len(told) == TOLD
    if flags & AT_ONCE:
        first_byte, upstream_status = duration, status
    return Record(
        number,
        started,
        request_id.decode("latin-1"),
        method.decode("latin-1"),
        host.decode("latin-1"),
        path.decode("latin-1"),
        status,
        duration,
        first_byte=first_byte,
        connect=connect,
        queue=queue,
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        target=target,
        scene=scene,
        upstream_status=upstream_status,
        reason=reason,
        retries=retries,
        reused=bool(flags & REUSED),
        from_upstream=bool(flags & UPSTREAM),
        cut=cut,
        open=bool(flags & OPEN),
        listener=listener,
        group=group,
        rule=rule,
        version=version,
        revision=revision,
        tries=tries,
        passed=passed,
        detail=detail.decode("utf-8", "replace"),
    )


def _texts(
    slot: bytes,
) -> tuple[bytes, bytes, bytes, bytes, bytes, tuple[Try, ...], tuple[int, ...]] | None:
    """Return id, method, host, path, detail, tries and full targets of a detailed record; None if it cannot be one."""
    *lengths, count, path, detail, full = LENGTHS.unpack_from(slot, _TAIL)
    at = _TAIL + LENGTHS.size
    sizes = (*lengths, path, detail)
    if at + count * TRY.size + full * _PASSED.size + sum(sizes) > len(slot) - _MARK.size:
        return None
    tries = []
    for _ in range(count):
        target, start, connect, seconds, reason, reused = TRY.unpack_from(slot, at)
        tries.append(Try(target, reason, start, connect, seconds, bool(reused)))
        at += TRY.size
    passed = []
    for _ in range(full):
        passed.append(_PASSED.unpack_from(slot, at)[0])
        at += _PASSED.size
    texts = []
    for size in sizes:
        texts.append(slot[at : at + size])
        at += size
    return texts[0], texts[1], texts[2], texts[3], texts[4], tuple(tries), tuple(passed)


assert PLAIN.size == WHOLE.size == layout.RECENT.slot and _TAIL == 84
assert _TAIL + LENGTHS.size + MOST_ID + MOST_METHOD + _MARK.size <= layout.RECENT.slot
