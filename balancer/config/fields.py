"""Typed readers of single values: each returns the value or raises `Wrong` with what to write instead.

Every reader is a pydantic field type, with the JSON Schema that an editor needs to say the same while one types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from balancer.config.environment import Substituted
from balancer.config.fault import one_line
from balancer.config.later import unavailable
from balancer.config.yaml12 import plain
from balancer.model.meant import meant
from balancer.model.units import (
    DURATION_PATTERN,
    RATE_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)

OURS = "ours"  # the type of the errors that speak in our voice already
MAX_SECONDS = 366 * 86400.0

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
_NAME_PATTERN = "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, eq=False)  # pydantic hashes it; two readers are never the same
class Read:
    """Says in `Annotated[type, Read(…)]` which function reads the value, and what an editor is told about it."""

    by: Callable[[object], object]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.by)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        if self.schema == {"type": "string"}:
            return dict(self.schema)
        kinds = self.schema.get("anyOf", [self.schema])
        return {"anyOf": [*kinds, {"type": "string", "pattern": r"\$\{"}]}  # or a reference to the environment


def wrong(problem: str, remedy: str) -> PydanticCustomError:
    """Return the error that a reader raises."""
    return PydanticCustomError(OURS, "{problem}", {"problem": problem, "remedy": remedy})


def shown(value: object) -> str:
    """Return a value as it may stand in a message: on one line, in quotes, cut when long."""
    if isinstance(value, dict):
        return "a set of keys"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"'{str(value).lower()}'"
    text = str(value)
    text = one_line(text)
    return f"'{text[:57]}...'" if len(text) > 60 else f"'{text}'"


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the word that was probably meant, or None; case and the kind of hyphen do not matter."""
    known = list(words)
    folded = word.lower().replace("-", "_")
    if folded in known:
        return folded
    return meant(folded, known)


def listed(words: Iterable[str]) -> str:
    """Return `a, b or c`."""
    *most, last = list(words)
    return f"{', '.join(most)} or {last}" if most else last


def text_of(value: object, example: str) -> str:
    """Return the value if it is text; numbers and truth values are told to put on quotes."""
    if isinstance(value, str):
        return value
    if value is None:
        raise wrong("is empty", f"write {example}")
    if isinstance(value, bool | int | float):
        raise wrong(f"{shown(value)} is not text", f'put it in quotes: "{str(value).lower()}"')
    raise wrong(f"{shown(value)} is not text", f"write {example}")


# numbers and truth values


def _typed(value: object) -> object:
    return plain(value) if isinstance(value, Substituted) else value


def _whole(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = _typed(value)
        if isinstance(number, bool) or not isinstance(number, int):
            hint = f"a whole number from {least} to {most}"
            if isinstance(value, str) and not isinstance(value, Substituted) and isinstance(plain(value), int):
                raise wrong(f'"{value}" is text', f"write {value} without quotes")
            raise wrong(f"{shown(value)} is not a whole number" if value is not None else "is empty", f"write {hint}")
        if not least <= number <= most:
            raise wrong(f"{number} is out of range", f"write a number from {least} to {most}")
        return number

    return read


def whole(least: int, most: int) -> Read:
    """Return the reader of a whole number in a range."""
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Read(_whole(least, most), schema)


def _flag(value: object) -> bool:
    known = _typed(value)
    if isinstance(known, bool):
        return known
    word = str(value).lower()
    if word in ("yes", "on", "y", "1"):
        raise wrong(f"{shown(value)} is not true or false", "write true")
    if word in ("no", "off", "n", "0"):
        raise wrong(f"{shown(value)} is not true or false", "write false")
    raise wrong("is empty" if value is None else f"{shown(value)} is not true or false", "write true or false")


Flag = Annotated[bool, Read(_flag, {"type": "boolean"})]


# durations, sizes and rates


def _duration(value: object) -> float:
    known = _typed(value)
    if isinstance(known, int | float) and not isinstance(known, bool):
        raise wrong(f"{shown(value)} has no unit", f"write {known:g}s" if known < 500 else f"write {known:g}ms")
    seconds = parse_duration(known) if isinstance(known, str) else None
    if seconds is None:
        problem = "is empty" if value is None else f"{shown(value)} is not a duration"
        raise wrong(problem, "write a number and a unit: 250ms, 5s, 1m")
    if seconds > MAX_SECONDS:
        raise wrong(f"{shown(value)} is longer than a year", "write a shorter time")
    return seconds


Duration = Annotated[float, Read(_duration, {"type": "string", "pattern": DURATION_PATTERN})]


def _size(value: object) -> int:
    known = _typed(value)
    if isinstance(known, int) and not isinstance(known, bool):
        if known == 0:
            return 0
        raise wrong(f"{shown(value)} has no unit", f"write {known}B, or a size such as 8KiB")
    count = parse_size(known) if isinstance(known, str) else None
    if count is None:
        problem = "is empty" if value is None else f"{shown(value)} is not a size"
        raise wrong(problem, "write a number and a unit: 500B, 8KiB, 1MiB")
    if count >= 2**53:
        raise wrong(f"{shown(value)} is too large", "write 0 for no limit")
    return count


Size = Annotated[
    int,
    Read(_size, {"anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, {"type": "integer", "enum": [0]}]}),
]


def _rate(value: object) -> float:
    known = _typed(value)
    if isinstance(known, int | float) and not isinstance(known, bool):
        raise wrong(f"{shown(value)} has no unit", f"write {known:g}/s")
    rate = parse_rate(known) if isinstance(known, str) else None
    if rate is None:
        problem = "is empty" if value is None else f"{shown(value)} is not a rate"
        raise wrong(problem, "write a number, a slash and a unit: 100/s, 30/m, 1000/h")
    if not 1e-5 < rate <= 1e6:
        raise wrong(f"{shown(value)} is out of range", "write a rate between 1/h and 1000000/s")
    return rate


Rate = Annotated[float, Read(_rate, {"type": "string", "pattern": RATE_PATTERN})]


def option(default: object, description: str, example: object) -> Any:
    """Return the field of a key that may be left out, with what hover help says about it."""
    return Field(default=default, description=description, examples=[example])


def off_option(description: str, example: object) -> Any:
    """Return the field of a key of type `Annotated[X | None, OFF]` that is off unless written."""
    return Field(default=None, description=description, examples=[example], json_schema_extra={"default": "off"})


def needed(description: str, example: object) -> Any:
    """Return the field of a key that must be written."""
    return Field(description=description, examples=[example])


def time(default: float, description: str, example: str) -> Any:
    """Return the field of a duration; its default is shown as people write it."""
    shown_default: Any = {"default": format_duration(default)}
    return Field(default=default, description=description, examples=[example], json_schema_extra=shown_default)


def size(default: int, description: str, example: str) -> Any:
    """Return the field of a size; its default is shown as people write it."""
    written: Any = format_size(default) if default else 0
    return Field(default=default, description=description, examples=[example], json_schema_extra={"default": written})


# names, words, text


def _name(value: object) -> str:
    text = text_of(value, "a name such as web")
    if "://" in text:
        raise wrong(f"{shown(text)} is a URL and not a name", "write a name, such as that of a target group")
    if _NAME.fullmatch(text) is None:
        proposal = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:63].strip("-._")
        remedy = f"write {proposal}" if proposal else "write letters, digits, '-', '_' and '.'"
        raise wrong(f"{shown(text)} is not a name", remedy)
    return text


Name = Annotated[str, Read(_name, {"type": "string", "pattern": _NAME_PATTERN})]


def _text(value: object) -> str:
    text = text_of(value, "text")
    if _CONTROL.search(text):
        raise wrong(f"{shown(text)} has a control character in it", "write it on one line")
    return text


Text = Annotated[str, Read(_text, {"type": "string"})]
Lines = Annotated[str, Read(lambda value: text_of(value, "text"), {"type": "string"})]


def choice(words: type[StrEnum] | Iterable[str], later: Mapping[str, str] | None = None) -> Callable[[object], str]:
    """Return a reader of one word out of a set; words of a later version get an answer of their own."""
    known = [str(word) for word in words]

    def read(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        if isinstance(value, str) and later is not None and value in later:
            raise wrong(unavailable(value), later[value])
        if value is None:
            raise wrong("is empty", f"write {listed(known)}")
        near = nearest(value, known) if isinstance(value, str) and not value.isdigit() else None
        raise wrong(f"{shown(value)} is not known here", f"write {near or listed(known)}")

    return read


def one_of(enum: type[StrEnum], words: Iterable[StrEnum] | None = None, later: Mapping[str, str] | None = None) -> Read:
    """Return the reader of a word out of an enum."""
    known = [str(word) for word in (words or enum)]
    read = choice(known, later)
    return Read(lambda value: enum(read(value)), {"type": "string", "enum": known})


def _off(value: object) -> object:
    """Return None for the word off. Another plain word (none, false) was meant for it; what else is no setting, is told
    by the section what it would be."""
    if value == "off":
        return None
    if value is None:
        raise wrong("is empty", "write off, or its settings")
    if isinstance(value, bool) or (isinstance(value, str) and value.isalpha()):
        raise wrong(f"{shown(value)} is not known here", "write off, or its settings")
    return value


def _written(value: object) -> object:
    if value is None:
        raise wrong("is empty", "write a value, or remove the key")
    return value


@dataclass(frozen=True, slots=True, eq=False)
class _Instead:
    """On a field of type `X | None`: what stands in YAML for None; nothing does unless `words` say so."""

    by: Callable[[object], object]
    words: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.by, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        kinds = [kind for kind in found.pop("anyOf", [found]) if kind != {"type": "null"}]
        kinds += [{"const": word} for word in self.words]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


OFF = _Instead(_off, ("off",))  # the word `off` is None
WRITTEN = _Instead(_written, ())  # the key is left out, or has a value
