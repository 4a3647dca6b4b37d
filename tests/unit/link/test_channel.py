"""Channels: messages in order, descriptors with theirs, never waiting, nothing leaked."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Iterator

import pytest
import uvloop

from balancer.link.channel import MAX_DESCRIPTORS, QUEUE, Channel, Ended, pair
from balancer.link.messages import BadMessage, Message

Ends = tuple[Channel, Channel]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two ends; whatever a test does, no descriptor stays open."""
    gc.collect()  # what an earlier test left in a cycle would close in the middle of this one
    before = open_descriptors()
    left, right = (Channel(sock) for sock in pair())
    yield left, right
    left.close()
    right.close()
    assert open_descriptors() == before


def received(channel: Channel) -> list[Message]:
    """Return all that has come, closing what came along."""
    messages = []
    while (one := channel.receive()) is not None:
        messages.append(one[0])
        for descriptor in one[1]:
            os.close(descriptor)
    return messages


def test_messages_come_in_order_and_nothing_means_none(ends: Ends) -> None:
    left, right = ends
    assert right.receive() is None
    for revision in range(5):
        assert left.send({"is": "commit", "revision": revision})
    assert [message["revision"] for message in received(right)] == [0, 1, 2, 3, 4]


def test_descriptors_travel_with_their_message_and_are_not_inherited(ends: Ends) -> None:
    left, right = ends
    read, write = os.pipe()
    left.send({"is": "offer", "revision": 1}, [write])
    left.send({"is": "states", "generation": 2})
    os.close(write)
    first, second = right.receive(), right.receive()
    assert first is not None
    assert second is not None
    assert len(first[1]) == 1
    assert second[1] == []
    assert not os.get_inheritable(first[1][0])
    os.write(first[1][0], b"through")
    os.close(first[1][0])
    assert os.read(read, 10) == b"through"
    os.close(read)


def test_as_many_descriptors_as_promised_fit_in_a_packet(ends: Ends) -> None:
    left, right = ends
    read, write = os.pipe()
    assert left.send({"is": "start"}, [read] * MAX_DESCRIPTORS)
    os.close(read)
    os.close(write)
    one = right.receive()
    assert one is not None
    assert len(one[1]) == MAX_DESCRIPTORS
    for descriptor in one[1]:
        os.close(descriptor)
    with pytest.raises(BadMessage, match="at most 250"):
        left.send({"is": "start"}, [0] * (MAX_DESCRIPTORS + 1))


def test_a_peer_that_does_not_read_costs_no_time_and_bounded_room(ends: Ends) -> None:
    left, right = ends
    board = os.memfd_create("board")
    sent = 0
    while left.send({"is": "offer", "revision": sent}, [board]):
        sent += 1
    os.close(board)
    assert left.waiting == QUEUE
    assert left.dropped == 1
    assert not left.send({"is": "commit", "revision": sent})
    assert left.dropped == 2
    revisions = []
    while left.waiting:
        revisions += [message["revision"] for message in received(right)]
        left.flush()
    revisions += [message["revision"] for message in received(right)]
    assert revisions == list(range(sent))


def test_descriptors_of_messages_that_never_left_are_closed(ends: Ends) -> None:
    left, _ = ends
    board = os.memfd_create("board")
    while left.send({"is": "offer"}, [board]):
        pass
    os.close(board)
    # the fixture counts the descriptors after both ends are closed


def test_packets_that_are_no_messages_are_counted_and_skipped() -> None:
    before = open_descriptors()
    ours, theirs = pair()
    right = Channel(theirs)
    socket.send_fds(ours, [b"nonsense"], [0])
    ours.send(b'{"is":"offer","text":"' + b"x" * 70_000 + b'"}')
    ours.send(b'{"is":"reload"}')
    assert received(right) == [{"is": "reload"}]
    assert right.garbled == 2
    ours.close()
    right.close()
    assert open_descriptors() == before


def test_the_end_is_told_after_all_that_was_said(ends: Ends) -> None:
    left, right = ends
    left.send({"is": "drained"})
    left.end()
    assert right.receive() == ({"is": "drained"}, [])
    with pytest.raises(Ended):
        right.receive()
    right.send({"is": "stop", "timeout": 1})
    assert left.receive() == ({"is": "stop", "timeout": 1}, [])
    assert not left.send({"is": "drained"})


def test_sending_to_a_peer_that_is_gone_is_a_drop_not_an_error(ends: Ends) -> None:
    left, right = ends
    right.close()
    assert not left.send({"is": "reload"})
    with pytest.raises(Ended):
        left.receive()
    left.close()
    assert not left.send({"is": "reload"})


def test_waiting_for_a_message_has_a_bound(ends: Ends) -> None:
    left, right = ends
    with pytest.raises(TimeoutError):
        right.wait(0.01)
    left.send({"is": "reload"})
    assert right.wait(5) == ({"is": "reload"}, [])


LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_on_an_event_loop_all_comes_in_order_then_the_end(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    new_loop().close()  # the first one opens what the library keeps for the process
    before = open_descriptors()
    loop = new_loop()
    left, right = (Channel(sock) for sock in pair())
    came: list[int] = []
    ended = loop.create_future()

    def on_message(message: Message, descriptors: list[int]) -> None:
        came.append(message["revision"])
        for descriptor in descriptors:
            os.close(descriptor)

    async def talk() -> None:
        # more than the kernel takes at once: the rest leaves as the loop turns
        for revision in range(QUEUE):
            assert left.send({"is": "offer", "revision": revision}, [0])
        right.attach(loop, on_message, lambda: ended.set_result(None))
        left.attach(loop, on_message, lambda: None)
        while left.waiting:
            await asyncio.sleep(0)
        left.close()
        await asyncio.wait_for(ended, 5)

    loop.run_until_complete(talk())
    assert came == list(range(QUEUE))
    assert right.fileno() == -1
    loop.close()
    assert open_descriptors() == before


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_channel_may_be_closed_by_what_it_hears(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    loop = new_loop()
    left, right = (Channel(sock) for sock in pair())
    came: list[Message] = []

    def on_message(message: Message, _: list[int]) -> None:
        came.append(message)
        right.close()
        loop.stop()

    left.send({"is": "reload"})
    left.send({"is": "reload"})
    right.attach(loop, on_message, loop.stop)
    loop.run_forever()
    assert came == [{"is": "reload"}]
    left.close()
    loop.close()
