"""The snapshot on its way between processes: what is read is what was written."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from enum import Enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.model import codec
from balancer.model.snapshot import (
    Discover,
    FixedResponse,
    Forward,
    Listener,
    Match,
    Redirect,
    Rule,
    Snapshot,
    Target,
    TargetGroup,
)

FULL = Snapshot(
    version=3,
    listeners=(
        Listener(
            "web",
            "0.0.0.0:80",
            rules=(
                Rule("a", Match(hosts=("é.test",), headers=(("x", "~r"),)), Forward((("g", 9), ("h", 1))), 5),
                Rule("b", Match(), Redirect("https://{host}", 301)),
                Rule("c", Match(), FixedResponse(503, "sorry")),
            ),
        ),
    ),
    target_groups=(
        TargetGroup("g", health_check=None, passive=None, targets=(Target("t", "h:1", "", 1),)),
        TargetGroup("h", discover=(Discover("name", 80),)),
    ),
    slots={"reasons|": 0, "group|g": 7},
)


def strategy(hint: typing.Any) -> st.SearchStrategy[typing.Any]:
    """Return a strategy for a type as the fields of a snapshot have it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(strategy, arguments))
    if hint is type(None):
        return st.none()
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return st.lists(strategy(arguments[0]), max_size=2).map(tuple)
        return st.tuples(*map(strategy, arguments))
    if origin is dict:
        return st.dictionaries(strategy(arguments[0]), strategy(arguments[1]), max_size=2)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        # Most fields keep their defaults, so that an example stays small; whatever has none is drawn.
        required = {f.name: strategy(hints[f.name]) for f in dataclasses.fields(hint) if _required(f)}
        optional = {f.name: strategy(hints[f.name]) for f in dataclasses.fields(hint) if not _required(f)}
        return st.fixed_dictionaries(required, optional=optional).map(lambda given_: hint(**given_))
    simple: dict[object, st.SearchStrategy[typing.Any]] = {
        bool: st.booleans(),
        int: st.integers(0, 2**40),
        float: st.floats(0, 1e6, allow_nan=False),
        str: st.text(max_size=8),
    }
    return simple[hint]


def _required(field: dataclasses.Field[typing.Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@settings(deadline=None, max_examples=40)
@given(strategy(Snapshot))
def test_any_snapshot_comes_back_as_it_was(snapshot: Snapshot) -> None:
    again = codec.decode(codec.encode(snapshot))
    assert again == snapshot
    assert codec.encode(again) == codec.encode(snapshot)


def test_every_kind_of_action_and_every_absent_part_comes_back() -> None:
    again = codec.decode(codec.encode(FULL))
    assert again == FULL
    assert isinstance(again.listeners[0].rules[1].action, Redirect) and again.target_groups[0].passive is None


@pytest.mark.parametrize("data", [b"{}", b'{"format":99,"snapshot":{}}', b"nonsense", b'{"format":null}'])
def test_bytes_of_another_format_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"snapshot format|Expecting value"):
        codec.decode(data)


def test_a_field_that_is_missing_has_its_default() -> None:
    document = json.loads(codec.encode(FULL))
    del document["snapshot"]["stop_timeout"]
    assert codec.decode(json.dumps(document).encode()).stop_timeout == Snapshot().stop_timeout


def test_a_snapshot_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.version = 4  # type: ignore[misc]


@settings(deadline=None, max_examples=40)
@given(strategy(Snapshot))
def test_any_snapshot_comes_back_from_its_parts(snapshot: Snapshot) -> None:
    assert codec.decode(codec.encode_by_parts(snapshot)) == snapshot


def test_parts_that_have_not_changed_are_the_same_objects_after_the_next_reading() -> None:
    known: dict[bytes, object] = {}
    first = codec.decode(codec.encode_by_parts(FULL), known)
    other = dataclasses.replace(FULL.target_groups[1], max_connections=7)
    changed = dataclasses.replace(FULL, target_groups=(FULL.target_groups[0], other))
    second = codec.decode(codec.encode_by_parts(changed), known)
    assert second.listeners[0] is first.listeners[0]
    assert second.target_groups[0] is first.target_groups[0]
    assert second.target_groups[1] == other
    assert set(known.values()) == {*second.listeners, *second.target_groups}
