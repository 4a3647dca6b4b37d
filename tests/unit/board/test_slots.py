"""Places on the board: given once, kept for ever, never two in one cell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.board import layout
from balancer.board.slots import NoRoom, assign, forwards, keys, remember, zones_of_gone
from balancer.model.snapshot import FixedResponse, Forward, Listener, Match, Rule, Snapshot, Target, TargetGroup

KINDS = ["listener", "flow", "hits", "target", "reasons", "checks", "failovers", "group", "state"]
KEY = st.tuples(st.sampled_from(KINDS), st.text("abc", min_size=1, max_size=2)).map("|".join)


def rule(*groups: str) -> Rule:
    return Rule("r", Match(), Forward(tuple((name, 1) for name in groups)))


SNAPSHOT = Snapshot(
    listeners=(Listener("web", "127.0.0.1:1", rules=(rule("a", "b"), rule("a"), Rule("f", Match(), FixedResponse()))),),
    target_groups=(
        TargetGroup("a", targets=(Target("a1", "h:1", "1.1.1.1", 1), Target("a2", "h:2", "1.1.1.2", 2))),
        TargetGroup("b"),
        TargetGroup("c", targets=(Target("c1", "h:1", "1.1.1.3", 1),)),
    ),
)


def sizes(kind: str) -> tuple[str, int]:
    return (kind, 1) if kind in ("group", "state") else ("cells", layout.BLOCKS[kind])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(KEY, max_size=12), max_size=5))
def test_places_are_kept_and_never_overlap(publications: list[list[str]]) -> None:
    held: dict[str, int] = {}
    for wanted in publications:
        given_ = assign(wanted, held)
        assert held.items() <= given_.items() and set(wanted) <= set(given_)
        held = given_
    taken: set[tuple[str, int]] = set()
    for key, at in held.items():
        area, size = sizes(key.partition("|")[0])
        cells = {(area, cell) for cell in range(at, at + size)}
        assert not cells & taken
        taken |= cells


def test_a_snapshot_has_a_place_for_everything_it_counts() -> None:
    wanted = keys(SNAPSHOT)
    assert len(set(wanted)) == len(wanted)
    assert {
        "reasons|",
        "listener|web",
        "flow|web|",
        "hits|web||",
        "flow|web|a",
        "hits|web|a|",
        "hits|web|a|a1",
        "hits|web|a|a2",
        "flow|web|b",
        "hits|web|b|",
        "group|a",
        "reasons|a",
        "failovers|a",
        "state|a|a1",
        "target|a|a2",
        "checks|c|c1",
    } <= set(wanted)
    assert not any(key.startswith("hits|web|c") for key in wanted)  # no rule leads there


def test_a_group_is_forwarded_to_once_however_many_rules_say_so() -> None:
    assert forwards(SNAPSHOT.listeners[0]) == ["a", "b"]


def test_a_group_that_no_longer_exists_asks_for_no_place() -> None:
    assert not any(
        "gone" in key for key in keys(replace(SNAPSHOT, listeners=(Listener("web", "x:1", rules=(rule("gone"),)),)))
    )


def test_a_target_that_comes_back_counts_on_where_it_stopped() -> None:
    first = assign(keys(SNAPSHOT), {})
    without = assign(keys(replace(SNAPSHOT, target_groups=())), first)
    assert assign(keys(SNAPSHOT), without) == first


@pytest.mark.parametrize(
    ("key", "count"),
    [
        ("state|g|t%d", layout.MAX_TARGETS),
        ("group|g%d", layout.MAX_GROUPS),
        ("hits|l|g|t%d", layout.NOWHERE // layout.HITS_BLOCK),
    ],
)
def test_a_full_board_says_so_and_what_to_do(key: str, count: int) -> None:
    wanted = [key % number for number in range(count)]
    held = assign(wanted, {})
    with pytest.raises(NoRoom, match="use fewer listeners, target groups or targets, or restart"):
        assign([key % count], held)
    assert assign(wanted, held) == held


def test_cells_that_nobody_reads_are_given_to_nobody() -> None:
    held = assign([f"hits|l|g|{number}" for number in range(layout.NOWHERE // layout.HITS_BLOCK)], {})
    assert max(held.values()) + layout.HITS_BLOCK <= layout.NOWHERE
    assert layout.NOWHERE + max(layout.BLOCKS.values()) <= layout.CELLS


def test_what_is_the_same_as_before_needs_no_look_at_its_places() -> None:
    held = assign(keys(SNAPSHOT), {})
    grown = replace(SNAPSHOT.target_groups[1], targets=(Target("b1", "h:9", "1.1.1.9", 9),))
    after = replace(SNAPSHOT, target_groups=(SNAPSHOT.target_groups[0], grown, SNAPSHOT.target_groups[2]))
    assert assign(keys(after, SNAPSHOT), held) == assign(keys(after), held)
    assert not any(key.startswith("state|a|") for key in keys(after, SNAPSHOT))
    elsewhere = replace(SNAPSHOT, listeners=(replace(SNAPSHOT.listeners[0], rules=(rule("c"),)),))
    assert assign(keys(elsewhere, SNAPSHOT), held) == assign(keys(elsewhere), held)
    assert assign(keys(SNAPSHOT, SNAPSHOT), held) is held


def test_targets_that_left_keep_their_last_zone_and_take_no_place() -> None:
    held = assign(keys(SNAPSHOT), {})
    once = remember([("a", "a1", "zone-a"), ("a", "a2", "zone-b")], held)
    again = remember([("a", "a1", "zone-b"), ("b", "b1", "zone-c")], once)
    assert zones_of_gone(again) == {("a", "a1"): "zone-b", ("a", "a2"): "zone-b", ("b", "b1"): "zone-c"}
    assert {**assign(["checks|new|1"], held), **again} == assign(["checks|new|1"], again)
