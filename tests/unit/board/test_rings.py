"""The rings: what was written is read whole or not at all, the newest push out the oldest, a successor goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import pytest

from balancer.board import board as shared
from balancer.board import layout, records, rings, scenes
from balancer.board.board import Board
from balancer.board.layout import Ring
from balancer.board.scenes import Seen

CONTEXT = records.CONTEXT.pack(8, 1, 0, 3, 4)
LOST = 7


@pytest.fixture
def board() -> Iterator[Board]:
    descriptor = shared.create()
    made = Board(descriptor)
    os.close(descriptor)
    yield made


def write(board: Board, number: int, ring: Ring = layout.RECENT, place: int = 0, flags: int = 0) -> None:
    packed = partial(
        records.pack,
        started=1000.0 + number,
        context=CONTEXT,
        request_id=b"id-%08d" % number,
        method=b"GET",
        host=b"a.test",
        path=b"/%d" % number,
        status=200,
        duration=0.5,
        flags=flags,
    )
    rings.put(board.ring(place, ring), ring, number, packed)


def write_all(board: Board, last: int, ring: Ring = layout.RECENT) -> None:
    for number in range(max(1, last - ring.slots + 1), last + 1):
        write(board, number, ring)


@pytest.mark.parametrize("ring", [layout.RECENT, layout.FAILED])
@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 9_999, 10_000, 10_001, 25_003])
def test_how_far_a_ring_was_written_and_what_came_last_is_found_again(board: Board, ring: Ring, count: int) -> None:
    write_all(board, count, ring)
    assert rings.written(board, 0, ring) == min(count, ring.slots)
    assert rings.last(board, 0, ring) == count


def test_ten_thousand_requests_are_kept_and_the_next_pushes_out_the_oldest(board: Board) -> None:
    write_all(board, layout.RECENT.slots)
    oldest = rings.oldest(board, 0, layout.RECENT)
    assert oldest is not None and oldest.request_id == "id-00000001"
    write(board, layout.RECENT.slots + 1)
    oldest = rings.oldest(board, 0, layout.RECENT)
    assert oldest is not None and oldest.request_id == "id-00000002"
    assert rings.find(board, 0, layout.RECENT, "id-00000001") is None
    assert len(list(rings.newest(board, 0, layout.RECENT))) == layout.RECENT.slots


def test_the_newest_come_first(board: Board) -> None:
    write_all(board, 12_000)
    assert [one.number for one, _ in zip(rings.newest(board, 0, layout.RECENT), range(3))] == [12_000, 11_999, 11_998]


@pytest.mark.parametrize("number", [1, 5, 9_998, 10_000, 10_001])
def test_a_request_is_found_by_its_id(board: Board, number: int) -> None:
    write_all(board, 10_003)
    found = rings.find(board, 0, layout.RECENT, f"id-{number:08d}")
    assert (found is not None and found.path) == (f"/{number}" if number > 3 else False)


def test_an_id_that_is_part_of_another_is_not_taken_for_it(board: Board) -> None:
    write(board, 1)
    assert rings.find(board, 0, layout.RECENT, "id-0000000") is None
    assert rings.find(board, 0, layout.RECENT, "a.test") is None


def test_of_two_requests_with_one_id_the_later_is_found(board: Board) -> None:
    packed = partial(records.pack, started=1.0, context=CONTEXT, request_id=b"same-id-1", method=b"GET", host=b"a")
    for number, path in ((1, b"/first"), (2, b"/second")):
        rings.put(
            board.ring(0, layout.RECENT), layout.RECENT, number, partial(packed, path=path, status=200, duration=0.0)
        )
    found = rings.find(board, 0, layout.RECENT, "same-id-1")
    assert found is not None and found.path == "/second"


def test_an_id_that_is_a_part_of_every_record_is_found_without_reading_each(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = partial(records.pack, started=1.0, context=CONTEXT, method=b"GET", status=200, duration=0.0)
    other = partial(packed, request_id=b"AAAAAAAA-other", host=b"AAAAAAAA", path=b"/AAAAAAAA")
    own = partial(
        packed, request_id=b"AAAAAAAA", host=b"a", tries=[records.Try(1, 2, 0.0, 0.0, 0.1, False)], passed=[1]
    )
    for number in range(1, 501):
        rings.put(board.ring(0, layout.RECENT), layout.RECENT, number, other)
    assert rings.find(board, 0, layout.RECENT, "AAAAAAAA") is None
    for number in range(501, 601):
        rings.put(board.ring(0, layout.RECENT), layout.RECENT, number, partial(own, path=b"/%d" % number))
    read: list[bytes] = []
    unpack = records.unpack
    monkeypatch.setattr(records, "unpack", lambda data: read.append(data) or unpack(data))
    found = rings.find(board, 0, layout.RECENT, "AAAAAAAA")
    assert found is not None and found.path == "/600"
    assert len(read) == 1


@pytest.mark.parametrize("request_id", ["plain-id", "a" * 24, "a" * 25, "a" * 26])
def test_a_plain_record_is_found_by_its_id(board: Board, request_id: str) -> None:
    line = f"X-Request-ID: {request_id}\r\n".encode()[: records.ID]
    data = records.PLAIN.pack(
        1, 1.0, 0, 0, 0.1, 0.1, 0.0, 1, 0, 200, 200, 0, CONTEXT, line, b"a.test", b"GET /" + b"x" * 40, 1
    )
    rings.put(board.ring(0, layout.RECENT), layout.RECENT, 1, lambda _number, _size: data)
    found = rings.find(board, 0, layout.RECENT, request_id)
    assert found is not None and found.host == "a.test"
    assert rings.find(board, 0, layout.RECENT, request_id[:-1]) is None


@pytest.mark.parametrize("upto", [8, 100, 248])
def test_a_record_whose_writer_was_lost_inside_it_is_none(board: Board, upto: int) -> None:
    write_all(board, 20)
    view = board.ring(0, layout.RECENT)
    rings.clear(view, layout.RECENT, 8)  # what a writer does first …
    data = records.pack(
        10_008,
        256,
        started=1.0,
        context=CONTEXT,
        request_id=b"torn-torn",
        method=b"GET",
        host=b"a",
        path=b"/",
        status=1,
        duration=0,
    )
    view[7 * 256 + 8 : 7 * 256 + upto] = data[8:upto]  # … and here it was lost
    assert rings.find(board, 0, layout.RECENT, "torn-torn") is None
    assert 8 not in [one.number for one in rings.newest(board, 0, layout.RECENT)]
    assert rings.last(board, 0, layout.RECENT) == 20


def test_a_plain_record_that_was_begun_is_none(board: Board) -> None:
    view = board.ring(0, layout.RECENT)
    write_all(board, 3)
    view[768:776] = (4).to_bytes(8, "little")  # the number at the end of the slot comes last
    assert [one.number for one in rings.newest(board, 0, layout.RECENT)] == [3, 2, 1]
    assert rings.last(board, 0, layout.RECENT) == 4, "the successor does not use the number again"


def test_a_ring_that_lost_its_newest_record_goes_on_in_its_place(board: Board) -> None:
    write_all(board, 4)
    rings.clear(board.ring(0, layout.RECENT), layout.RECENT, 4)
    assert rings.last(board, 0, layout.RECENT) == 3


def test_places_keep_their_requests_apart(board: Board) -> None:
    write(board, 1, place=0)
    write(board, 1, place=62)
    assert rings.last(board, 1, layout.RECENT) == 0
    assert rings.last(board, 62, layout.RECENT) == 1


def test_what_a_lost_worker_left_open_becomes_failed_once(board: Board) -> None:
    write_all(board, 5)
    write(board, 2, layout.OPEN, flags=records.OPEN)
    write(board, 900, layout.OPEN, flags=records.OPEN)
    assert rings.inherit(board, 0, LOST, 2000.0) == 2
    assert rings.inherit(board, 0, LOST, 3000.0) == 0
    assert rings.last(board, 0, layout.RECENT) == 7 and rings.last(board, 0, layout.FAILED) == 2
    found = rings.find(board, 0, layout.FAILED, "id-00000900")
    assert found is not None and not found.open
    assert (found.reason, found.started, found.duration) == (LOST, 1900.0, 100.0)
    assert rings.find(board, 0, layout.OPEN, "id-00000900") is None


def test_reading_touches_no_more_than_what_was_written() -> None:
    descriptor = shared.create()
    board = Board(descriptor)
    write_all(board, 20)
    before = os.fstat(descriptor).st_blocks
    rings.find(board, 0, layout.RECENT, "nobody")
    rings.find(board, 0, layout.FAILED, "nobody")
    assert (os.fstat(descriptor).st_blocks - before) * 512 < 40 * layout.PAGE
    os.close(descriptor)


def test_a_scene_is_found_by_its_number_until_it_is_pushed_out(board: Board) -> None:
    content = scenes.body(3, (60, 40), (False, True), [Seen(5, 1, 2, 1, 300, 99, in_rotation=True, own=True)], 1)
    for number in (1, 2, layout.SCENES.slots + 1):
        rings.put(
            board.ring(0, layout.SCENES),
            layout.SCENES,
            number,
            partial(scenes.pack, at_wall=5.0, at=1.0, content=content),
        )
    found = rings.scene(board, 0, 2)
    assert found is not None and (found.group, found.shares, found.panic) == (3, (60, 40), (False, True))
    assert found.targets == (Seen(5, 1, 2, 1, 300, 99, in_rotation=True, own=True),)
    assert rings.scene(board, 0, 1) is None and rings.scene(board, 0, 0) is None and rings.scene(board, 0, 3) is None


def test_a_scene_of_more_targets_than_fit_says_how_many_there_were(board: Board) -> None:
    crowd = [Seen(number, 0, 1, 0, 100, 0, in_rotation=True) for number in range(1000)]
    content = scenes.body(3, (100,), (False,), crowd, 1000)
    found = scenes.unpack(scenes.pack(1, layout.SCENES.slot, at_wall=1.0, at=1.0, content=content))
    assert found is not None and found.count == 1000
    assert [one.target for one in found.targets] == list(range(scenes.MOST_TARGETS)) and scenes.MOST_TARGETS >= 190


def test_rings_lie_in_whole_pages_behind_the_cells() -> None:
    assert layout.RINGS_AT >= layout.CELLS_SIZE and layout.RINGS_AT % layout.PAGE == 0
    ends = [0]
    for ring in (layout.RECENT, layout.FAILED, layout.SCENES, layout.OPEN):
        assert ring.at == ends[-1] and ring.at % layout.PAGE == 0
        ends.append(ring.end)
    assert ends[-1] == layout.AREA and layout.SIZE == layout.RINGS_AT + layout.MAX_WORKERS * layout.AREA
    assert layout.AREA < 16 * 1024 * 1024
