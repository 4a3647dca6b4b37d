"""Snapshot ↔ JSON bytes, by the types of its fields; a format number guards against another version's bytes.

What is to be done with each type is found out once: a snapshot may hold ten thousand targets, and a worker that reads
it has requests to serve.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache

from balancer.model.snapshot import Listener, Snapshot, TargetGroup

FORMAT = 1

_Step = Callable[[typing.Any], typing.Any] | None
"""What becomes of a value; None: it stays as it is."""


def encode(snapshot: Snapshot) -> bytes:
    """Return the snapshot as UTF-8 JSON."""
    return json.dumps({"format": FORMAT, "snapshot": _writer(Snapshot)(snapshot)}, separators=(",", ":")).encode()


def encode_by_parts(snapshot: Snapshot) -> bytes:
    """Return the snapshot as a line of JSON without its listeners and target groups, then a line for each of these.

    What has not changed since the last time (the very same object) is not written anew, and its line is not read anew.
    """
    global _written_lines
    parts = (*snapshot.listeners, *snapshot.target_groups)
    lines: dict[int, tuple[object, bytes]] = {}
    for part in parts:
        known = _written_lines.get(id(part))
        if known is None or known[0] is not part:
            write = _writer(Listener if isinstance(part, Listener) else TargetGroup)
            known = part, json.dumps(write(part), separators=(",", ":")).encode()
        lines[id(part)] = known
    _written_lines = lines
    bare = _writer(Snapshot)(dataclasses.replace(snapshot, listeners=(), target_groups=()))
    head = {"format": FORMAT, "snapshot": bare, "listeners": len(snapshot.listeners)}
    first = json.dumps(head, separators=(",", ":")).encode()
    return b"\n".join([first, *(lines[id(part)][1] for part in parts)])


_written_lines: dict[int, tuple[object, bytes]] = {}


def decode(data: bytes, known: dict[bytes, object] | None = None) -> Snapshot:
    """Return the snapshot that `data` holds, in either form; ValueError if it was written by another format.

    `known`: the parts of the snapshot before by their lines, which are taken as they are where they come again; those
    of this one stand there afterwards.
    """
    first, *lines = data.split(b"\n")
    document = json.loads(first)
    if document.get("format") != FORMAT:
        raise ValueError(f"snapshot format {document.get('format')!r} is not {FORMAT}")
    snapshot = typing.cast(Snapshot, _reader(Snapshot)(document["snapshot"]))
    if not lines:
        return snapshot
    count = document["listeners"]
    before, parts = known or {}, []
    for index, line in enumerate(lines):
        part = before.get(line)
        parts.append(_reader(Listener if index < count else TargetGroup)(json.loads(line)) if part is None else part)
    if known is not None:
        known.clear()
        known.update(zip(lines, parts))
    listeners, groups = tuple(parts[:count]), tuple(parts[count:])
    return dataclasses.replace(
        snapshot,
        listeners=typing.cast(tuple[Listener, ...], listeners),
        target_groups=typing.cast(tuple[TargetGroup, ...], groups),
    )


@cache
def _hints(cls: type) -> dict[str, object]:
    return typing.get_type_hints(cls)


def _members(hint: typing.Any) -> list[typing.Any]:
    """Return the members of a union but None, the type itself if it is none."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [member for member in typing.get_args(hint) if member is not type(None)]
    return [hint]


# Values to JSON


@cache
def _writer(cls: type) -> Callable[[typing.Any], dict[str, object]]:
    name = cls.__name__
    steps = [(field.name, _written(_hints(cls)[field.name])) for field in dataclasses.fields(cls)]

    def write(value: typing.Any) -> dict[str, object]:
        plain: dict[str, object] = {"_": name}
        for key, step in steps:
            own = getattr(value, key)
            plain[key] = own if step is None or own is None else step(own)
        return plain

    return write


def _written(hint: typing.Any) -> _Step:
    members = _members(hint)
    if len(members) > 1:  # of dataclasses
        named: dict[type, Callable[[typing.Any], object]] = {member: _writer(member) for member in members}
        return lambda value: named[type(value)](value)
    kind = members[0]
    if typing.get_origin(kind) is tuple:
        steps = [_written(one) for one in typing.get_args(kind) if one is not Ellipsis]
        if not any(steps):
            return None  # JSON has lists for tuples
        if len(steps) == 1:
            (step,) = steps
            assert step is not None
            return lambda value: [step(item) for item in value]
        return lambda value: [item if step is None else step(item) for step, item in zip(steps, value, strict=True)]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _writer(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return lambda value: value.value
    return None


# JSON to values


@cache
def _reader(cls: type) -> Callable[[dict[str, typing.Any]], object]:
    steps = {name: _read(hint) for name, hint in _hints(cls).items()}
    steps["_"] = None

    def read(plain: dict[str, typing.Any]) -> object:
        found = {}
        for key, own in plain.items():
            step = steps[key]
            found[key] = own if step is None or own is None else step(own)
        found.pop("_", None)
        return cls(**found)

    return read


def _read(hint: typing.Any) -> _Step:
    members = _members(hint)
    if len(members) > 1:
        named = {member.__name__: _reader(member) for member in members}
        return lambda value: named[value["_"]](value)
    kind = members[0]
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        steps = [_read(one) for one in inner if one is not Ellipsis]
        if inner[-1] is not Ellipsis:
            return lambda value: tuple(
                [item if step is None else step(item) for step, item in zip(steps, value, strict=True)]
            )
        (step,) = steps
        if step is None:
            return tuple
        return lambda value: tuple([step(item) for item in value])
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _reader(kind)
    if isinstance(kind, type) and (issubclass(kind, Enum) or kind is float):
        return kind
    return None
