"""Records: whatever is written is read back, cut only where it had to be, and nothing torn is ever taken for whole."""

from __future__ import annotations

import itertools
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.board import layout, records
from balancer.board.records import NONE, Record, Try
from balancer.data.http.request_line import METHODS

SLOTS = st.sampled_from([layout.RECENT.slot, layout.FAILED.slot])
places = st.integers(0, NONE)
seconds = st.floats(0, 1e6, width=32)
tokens = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=8, max_size=128)
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=1200)
tries = st.lists(st.builds(Try, places, st.integers(0, 120), seconds, seconds, seconds, st.booleans()), max_size=6)
made = st.builds(
    Record,
    number=st.integers(1, 2**60),
    started=st.floats(1e9, 4e9),
    request_id=tokens,
    method=st.sampled_from(["", *sorted(method.decode() for method in METHODS)]),
    host=texts,
    path=texts,
    status=st.integers(0, 599),
    duration=seconds,
    first_byte=seconds,
    connect=seconds,
    queue=seconds,
    bytes_in=st.integers(0, 2**63),
    bytes_out=st.integers(0, 2**63),
    target=places,
    scene=places,
    upstream_status=st.integers(0, 599),
    reason=st.integers(0, 120),
    retries=st.integers(0, 255),
    reused=st.booleans(),
    from_upstream=st.booleans(),
    open=st.booleans(),
    listener=places,
    group=places,
    rule=st.integers(-1, 100_000),
    version=places,
    revision=places,
    tries=tries.map(tuple),
    passed=st.lists(places, max_size=6).map(tuple),
    detail=st.text(max_size=300),
)


def packed(record: Record, size: int) -> bytes:
    return records.pack(
        record.number,
        size,
        started=record.started,
        context=records.CONTEXT.pack(record.listener, record.group, record.rule, record.version, record.revision),
        request_id=record.request_id.encode(),
        method=record.method.encode(),
        host=record.host.encode(),
        path=record.path.encode(),
        status=record.status,
        duration=record.duration,
        first_byte=record.first_byte,
        connect=record.connect,
        queue=record.queue,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        target=record.target,
        scene=record.scene,
        upstream_status=record.upstream_status,
        reason=record.reason,
        retries=record.retries,
        flags=record.reused * records.REUSED | record.from_upstream * records.UPSTREAM | record.open * records.OPEN,
        tries=record.tries,
        passed=record.passed,
        detail=record.detail.encode(),
    )


def first_and_last(tries: tuple[Try, ...], most: int) -> tuple[Try, ...]:
    """Return what may be kept of many tries: the first ones, and the one that ended the request."""
    return tries if len(tries) <= most else (*tries[: most - 1], tries[-1])


@given(made, SLOTS)
def test_what_is_written_is_read_back_and_only_texts_are_cut(record: Record, size: int) -> None:
    data = packed(record, size)
    found = records.unpack(data)
    assert len(data) == size and found is not None
    exact = set(Record.__slots__) - {"tries", "passed", "host", "path", "detail", "cut"}
    assert {name: getattr(found, name) for name in exact} == {name: getattr(record, name) for name in exact}
    for name in ("host", "path"):
        assert getattr(record, name).startswith(getattr(found, name))
    assert found.cut == ((found.host, found.path) != (record.host, record.path))
    assert found.tries == first_and_last(record.tries, len(found.tries))
    assert found.passed == record.passed[: len(found.passed)]


@given(made)
def test_a_failed_request_of_usual_size_is_kept_whole(record: Record) -> None:
    found = records.unpack(packed(record, layout.FAILED.slot))
    assert found is not None
    assert found.tries == first_and_last(record.tries, records.MOST_TRIES)
    assert found.passed == record.passed[: records.MOST_PASSED]
    if len(record.host) <= 200 and len(record.path) <= 300:
        assert (found.host, found.path, found.cut) == (record.host, record.path, False)


@pytest.mark.parametrize("size", [layout.RECENT.slot, layout.OPEN.slot, layout.FAILED.slot])
@pytest.mark.parametrize("method", [b"", *{len(one): one for one in sorted(METHODS)}.values()], ids=len)
def test_whatever_a_request_is_called_its_record_fits_its_slot(size: int, method: bytes) -> None:
    one = Try(1, 2, 0.1, 0.2, 0.3, True)
    sizes = ((8, 64, *range(104, 129, 3)), (1, 40, 2000), (1, 2000), range(5), (0, 4))
    for request_id, host, path, tries, passed in itertools.product(*sizes):
        data = records.pack(
            7,
            size,
            started=1e9,
            context=records.CONTEXT.pack(1, 2, 3, 4, 5),
            request_id=b"i" * request_id,
            method=method,
            host=b"h" * host,
            path=b"p" * path,
            status=200,
            duration=1.0,
            tries=(one,) * tries,
            passed=(3,) * passed,
            detail=b"d" * 300,
        )
        found = records.unpack(data)
        assert len(data) == size and found is not None
        assert (found.request_id, found.method) == ("i" * request_id, method.decode())


@given(made, made, SLOTS, st.data())
def test_a_slot_that_is_half_old_and_half_new_is_none(old: Record, new: Record, size: int, data: st.DataObject) -> None:
    if old.number == new.number:
        return
    at = data.draw(st.integers(8, size - 8))
    assert records.unpack(packed(new, size)[:at] + packed(old, size)[at:]) is None


@given(st.binary(min_size=layout.RECENT.slot, max_size=layout.RECENT.slot), st.integers(1, 2**63))
def test_no_bytes_make_the_reader_fail(noise: bytes, number: int) -> None:
    mark = struct.pack("@Q", number)
    records.unpack(noise)
    records.unpack(mark + noise[8:-8] + mark)


@given(made, SLOTS)
def test_a_request_that_was_open_keeps_all_but_its_end(record: Record, size: int) -> None:
    known = records.unpack(packed(record, size))
    assert known is not None
    again = records.unpack(records.again(known, 9, size, reason=5, now=known.started + 2.0))
    assert again is not None
    assert (again.number, again.reason, again.open) == (9, 5, False) and math.isclose(again.duration, 2.0, abs_tol=1e-6)
    assert (again.request_id, again.host, again.path, again.cut) == (
        known.request_id,
        known.host,
        known.path,
        known.cut,
    )
