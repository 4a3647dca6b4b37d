"""Plain data → a Configuration and what was wrong, in our voice.

What is wrong is left out and the rest validated again, so that the checks of the whole tree can still be made and all
faults be told at once. `broken` names what was left out, `original` leads from a list item back to its place.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from balancer.config.fault import Finding, Steps
from balancer.config.fields import OURS, nearest, shown
from balancer.config.later import KEYS, unavailable
from balancer.config.sections.configuration import Configuration
from balancer.config.sections.section import Section
from balancer.config.tree import TOLD, grow
from balancer.config.yaml12 import compose

# what others call it → what it is called here
_ELSEWHERE = dict.fromkeys(("upstreams", "upstream", "backends", "backend", "services", "pools"), "target_groups")
_ELSEWHERE |= dict.fromkeys(("respond", "static", "return", "response"), "fixed_response")
_ELSEWHERE |= dict.fromkeys(("location", "locations", "rule", "path", "prefix", "when", "if"), "match")
_ELSEWHERE |= dict.fromkeys(("balance", "algorithm", "lb_policy", "load_balancing"), "policy")
_ELSEWHERE |= dict.fromkeys(("bind", "listen", "port", "url", "host"), "address")
_ELSEWHERE |= dict.fromkeys(("max_fails", "fail_timeout", "outlier_detection"), "passive")
_ELSEWHERE |= dict.fromkeys(("attempts", "tries", "count"), "max_retries") | {
    "code": "status",
    "maxconn": "max_connections",
}
_ELSEWHERE |= dict.fromkeys(("client_max_body_size", "max_body_size"), "body")
_ELSEWHERE |= {
    "code": "status",
    "maxconn": "max_connections",
    "fall": "unhealthy_threshold",
    "rise": "healthy_threshold",
    "loadbalancer": "target_groups",
}
_ELSEWHERE |= dict.fromkeys(("frontends", "frontend", "entrypoints"), "listeners") | {"servers": "targets"}
_FLOW = re.compile(r"[\s,\[\]{}#\"']")  # what a value may not have in it, to be shown as it is in {key: value}
_WORD = 60
_GUESSED = 100  # unknown keys of which we look for the one that was meant: it takes a while
_ROUNDS = 8  # each round leaves out more; three are enough for any file, the rest is caution


@dataclass(frozen=True, slots=True)
class Validated:
    """`configuration` holds what could be read, None if hardly anything could."""

    configuration: Configuration | None
    findings: tuple[Finding, ...]
    broken: frozenset[Steps]
    _touched: frozenset[Steps] = frozenset()  # every way that leads to something left out
    _kept: dict[Steps, list[int]] = field(default_factory=dict)

    def original(self, steps: Steps) -> Steps:
        """Return the steps in the file of steps in the configuration: earlier items of a list may be left out."""
        found: Steps = ()
        for step in steps:
            indexes = self._kept.get(found) if isinstance(step, int) else None
            found = (*found, step if indexes is None else indexes[typing.cast(int, step)])
        return found

    def is_whole(self, steps: Steps) -> bool:
        """Return whether nothing at or below these (original) steps was left out."""
        return steps not in self._touched


def validate(data: dict[str, Any]) -> Validated:
    """Return what the data says. Never raises on input."""
    findings: list[Finding] = []
    broken: set[Steps] = set()
    kept: dict[Steps, list[int]] = {}
    rest: Any = data
    for round_number in range(_ROUNDS):
        partial = Validated(None, (), frozenset(), _kept=kept)
        try:
            configuration = Configuration.model_validate(rest)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        else:
            return Validated(configuration, tuple(findings), frozenset(broken), _towards(broken), kept)
        told = [(partial.original(_steps(item, rest)), item) for item in errors]
        if round_number == 0:
            findings = _findings(told)
        broken |= {_left_out(steps, item) for steps, item in told} | set(_misspelt(told))
        kept = {}
        rest = _without(data, (), broken, _towards(broken), kept)
        if rest is _GONE:
            break
    return Validated(None, tuple(findings), frozenset(broken))


def _steps(error: ErrorDetails, data: object) -> Steps:
    """Return the error's way; pydantic adds `[key]` where the key of a free mapping is wrong."""
    steps = tuple(error["loc"])
    return steps[:-1] if error["type"] == OURS and steps[-1] == "[key]" else steps


def _left_out(steps: Steps, error: ErrorDetails) -> Steps:
    return steps[:-1] if error["type"] == "missing" else steps


class _Gone:
    pass


_GONE = _Gone()


def _towards(broken: set[Steps]) -> frozenset[Steps]:
    return frozenset(way[:length] for way in broken for length in range(len(way) + 1))


def _without(
    value: Any, steps: Steps, gone: set[Steps], touched: frozenset[Steps], kept: dict[Steps, list[int]]
) -> Any:
    if steps in gone:
        return _GONE
    if steps not in touched:
        return value
    if isinstance(value, dict):
        pairs = ((key, _without(item, (*steps, key), gone, touched, kept)) for key, item in value.items())
        return {key: item for key, item in pairs if item is not _GONE}
    if isinstance(value, tuple):
        items = [_without(item, (*steps, index), gone, touched, kept) for index, item in enumerate(value)]
        kept[steps] = [index for index, item in enumerate(items) if item is not _GONE]
        return tuple(item for item in items if item is not _GONE)
    return value


# our voice


def _findings(errors: Iterable[tuple[Steps, ErrorDetails]]) -> list[Finding]:
    told = [(steps, error) for steps, error in errors if error["input"] is not TOLD]
    misspelt = set(_misspelt(told))
    kept = ((steps, error) for steps, error in told if error["type"] != "missing" or steps not in misspelt)
    guesses = _Guesses()
    return [_finding(steps, error, guesses) for steps, error in kept]


class _Guesses:
    """Says which key was meant by an unknown one, for the first `_GUESSED` of a file."""

    def __init__(self) -> None:
        self._left = _GUESSED

    def meant(self, key: str, keys: Sequence[str]) -> str | None:
        if not self._left:
            return None
        self._left -= 1
        other = _ELSEWHERE.get(key.lower())
        return other if other in keys else _nearest(key, tuple(keys))


@lru_cache(4 * _GUESSED)
def _nearest(key: str, keys: tuple[str, ...]) -> str | None:
    return nearest(key, keys)


def _misspelt(told: Iterable[tuple[Steps, ErrorDetails]]) -> Iterator[Steps]:
    """Yield the keys that are not there but under another spelling, or that a key of a later version stands for."""
    guesses = _Guesses()
    for steps, error in told:
        if error["type"] == "extra_forbidden":
            keys = _keys(steps[:-1])
            meant = "action" if _in_action(steps) else guesses.meant(str(steps[-1]), keys)
            later = _later(steps) is not None
            yield from ((*steps[:-1], key) for key in (keys if later else [meant] if meant else []))


def _finding(steps: Steps, error: ErrorDetails, guesses: _Guesses) -> Finding:
    kind, value = error["type"], error["input"]
    if kind == OURS:
        context = error["ctx"]
        return Finding(steps, context["problem"], context["remedy"], on_key=error["loc"][-1] == "[key]")
    if kind == "extra_forbidden":
        return _unknown_key(steps, value, guesses)
    if kind == "missing":
        return Finding(steps, "is missing", f"write {steps[-1]}: {_example(steps)}")
    if kind == "model_type":
        keys = ", ".join(_keys(steps))
        meant = _long_form(steps, value)
        return _misshapen(steps, value, "a set of keys", f"write {meant}" if meant else f"write keys below it: {keys}")
    if kind == "tuple_type":
        plain_items = section_at((*steps, 0)) is None and _is_scalar(value)
        meant = str(value) if plain_items else _long_form((*steps, 0), value)
        return _misshapen(steps, value, "a list", f"write [{meant}]" if meant else "write '- ' before each entry")
    if kind == "dict_type":
        return _misshapen(steps, value, "a set of keys", "write name: value below it")
    return Finding(steps, f"{shown(value)} does not fit", error["msg"][:1].lower() + error["msg"][1:])


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _long_form(steps: Steps, value: object) -> str:
    """Return what a value alone would be as a section, "" where that is not to be told."""
    section = section_at(steps)
    word = str(value)
    if section is None or not section.short or not _is_scalar(value) or len(word) > _WORD or _FLOW.search(word):
        return ""
    meant = section.short.format(word)
    return meant if _is_sound(meant, section) else ""


def _is_sound(text: str, section: type[Section]) -> bool:
    """Return whether a text may be proposed as a section: who writes it is not told of the next fault."""
    root = compose(text.encode(), "")
    if not isinstance(root, yaml.MappingNode):
        return False
    tree, findings = grow(root, {}, str)
    try:
        section.model_validate(tree.data)
    except ValidationError:
        return False
    return not findings


def _misshapen(steps: Steps, value: object, wanted: str, remedy: str) -> Finding:
    if value is None:
        return Finding(steps, "is empty", f"remove it, or {remedy}")
    return Finding(steps, f"{shown(value)} is not {wanted}", remedy)


def _in_action(steps: Steps) -> bool:
    """Return whether a key of an action stands in the rule itself."""
    return len(steps) > 2 and steps[-3] == "rules" and steps[-1] in _keys((*steps[:-1], "action"))


def _unknown_key(steps: Steps, value: object, guesses: _Guesses) -> Finding:
    key = str(steps[-1])
    later = _later(steps)
    if later is not None:
        return Finding(steps, unavailable(key), later, on_key=True)
    if steps[0] == "listeners" and len(steps) == 3 and key == "forward":
        return Finding(
            steps, "a listener of HTTP forwards by rules", "write rules: [{action: {forward: …}}]", on_key=True
        )
    if _in_action(steps):
        told = value if isinstance(value, str) else "…"
        return Finding(steps, f"{key} stands under action", f"write action: {{{key}: {told}}}", on_key=True)
    keys = _keys(steps[:-1])
    meant = guesses.meant(key, keys)
    remedy = f"write {meant}" if meant else f"known here: {', '.join(keys)}"
    return Finding(steps, "unknown key", remedy, on_key=True)


def _later(steps: Steps) -> str | None:
    """Return what to use instead of a key of a later version, None if it is not one."""
    parent = next((str(step) for step in reversed(steps[:-1]) if isinstance(step, str)), "")
    return KEYS.get((parent, str(steps[-1])))


def _keys(steps: Steps) -> list[str]:
    section = section_at(steps)
    return [] if section is None else list(section.model_fields)


def _example(steps: Steps) -> str:
    section = section_at(steps[:-1])
    examples = None if section is None else section.model_fields[str(steps[-1])].examples
    example = examples[0] if examples else "…"
    if isinstance(example, dict):
        return "{" + ", ".join(f"{key}: {value}" for key, value in example.items()) + "}"
    return str(example)


def section_at(steps: Steps) -> type[Section] | None:
    """Return the section that stands at these steps, or None if it is not a section that stands there."""
    here: Any = Configuration
    for step in steps:
        if isinstance(step, int):
            here = _argument(here)
        elif _is_section(here) and step in here.model_fields:
            here = _bare(here.model_fields[step].annotation)
        else:
            return None
    return here if _is_section(here) else None


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _argument(kind: Any) -> Any:
    arguments = typing.get_args(kind)
    return _bare(arguments[0]) if arguments else None


def _bare(kind: Any) -> Any:
    """Return `X` of `X | None` and of `Annotated[X, …]`."""
    if typing.get_origin(kind) is typing.Annotated:
        return _bare(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return _bare(next(part for part in typing.get_args(kind) if part is not type(None)))
    return kind
