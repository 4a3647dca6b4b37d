"""The coarse clock: a number on each connection, and one look at all of them."""

from __future__ import annotations

import itertools

from balancer.data import deadlines
from balancer.data.deadlines import NEVER, Deadlines


class Item:
    """Something with a deadline that notes when it was over, and may do more then."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.ended: list[float] = []
        self.ends: list[Item] = []
        self.among: Deadlines

    def expired(self, now: float) -> None:
        self.ended.append(now)
        self.deadline = NEVER
        for other in self.ends:
            self.among.watched.discard(other)


def test_who_is_over_is_told_and_nobody_else() -> None:
    clock, items = Deadlines(), [Item(at) for at in (1.0, 2.0, 3.0, NEVER)]
    clock.watched.update(items)
    assert not clock.look(2.0)
    assert [item.ended for item in items] == [[2.0], [2.0], [], []]
    clock.look(4.0)
    assert [item.ended for item in items] == [[2.0], [2.0], [4.0], []]


def test_who_was_ended_by_another_of_the_same_round_is_not_told() -> None:
    for _ in range(10):  # the order within a round is nobody's promise
        clock, one, other = Deadlines(), Item(1.0), Item(1.0)
        for item, ends in ((one, other), (other, one)):
            item.among, item.ends = clock, [ends]
            clock.watched.add(item)
        clock.look(2.0)
        assert sorted(len(item.ended) for item in (one, other)) == [0, 1]


def test_a_crowd_is_looked_at_in_slices_and_each_of_it_once() -> None:
    clock, items = (
        Deadlines(),
        [Item(1.0 if number % 1000 == 0 else NEVER) for number in range(2 * deadlines._SLICE + 1)],
    )
    clock.watched.update(items)
    assert [clock.look(2.0) for _ in range(3)] == [True, True, False]
    assert all(item.ended == ([2.0] if number % 1000 == 0 else []) for number, item in enumerate(items))


def test_who_joins_while_a_round_goes_on_is_looked_at_in_the_next() -> None:
    clock, late = Deadlines(), Item(1.0)
    clock.watched.update(Item(NEVER) for _ in range(deadlines._SLICE + 1))
    assert clock.look(2.0)
    clock.watched.add(late)
    assert not clock.look(2.0)
    clock.look(2.1), clock.look(2.1)
    assert late.ended == [2.1]


def test_of_many_that_are_over_at_once_some_are_told_in_each_turn() -> None:
    """Each may cost an answer and a close: thousands of them in one turn would hold everybody else up."""
    clock, items = Deadlines(), [Item(1.0) for _ in range(100)]
    clock.watched.update(items)
    told = [0]
    while clock.look(2.0):
        told.append(sum(len(item.ended) for item in items))
    assert {later - earlier for earlier, later in itertools.pairwise(told)} == {deadlines._ENDED}
    assert len(told) > 5
    assert all(item.ended == [2.0] for item in items)
