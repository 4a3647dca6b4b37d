"""Snapshot ↔ JSON bytes, by the types of its fields; a format number guards against another version's bytes."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from enum import Enum
from functools import cache

from balancer.model.snapshot import Snapshot

FORMAT = 1


def encode(snapshot: Snapshot) -> bytes:
    """Return the snapshot as UTF-8 JSON."""
    return json.dumps({"format": FORMAT, "snapshot": _plain(snapshot)}, separators=(",", ":")).encode()


def decode(data: bytes) -> Snapshot:
    """Return the snapshot that `data` holds; ValueError if it was written by another format."""
    document = json.loads(data)
    if document.get("format") != FORMAT:
        raise ValueError(f"snapshot format {document.get('format')!r} is not {FORMAT}")
    return typing.cast(Snapshot, _typed(Snapshot, document["snapshot"]))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"_": type(value).__name__, **plain}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return value


@cache
def _hints(cls: type) -> dict[str, object]:
    return typing.get_type_hints(cls)


def _typed(hint: typing.Any, value: typing.Any) -> object:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        if len(members) > 1:
            members = [member for member in members if member.__name__ == value["_"]]
        return _typed(members[0], value)
    if origin is tuple:
        inner = typing.get_args(hint)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_typed(inner[0], item) for item in value)
        return tuple(_typed(kind, item) for kind, item in zip(inner, value, strict=True))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = _hints(hint)
        return hint(**{name: _typed(hints[name], item) for name, item in value.items() if name != "_"})
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if hint is float:
        return float(value)
    return value
