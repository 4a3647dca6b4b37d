"""The four writings of `$` in a value, as compose has them, and `${file:…}` for secrets.

    ${NAME}  ${NAME:-default}  ${NAME:?message}  $$  ${file:/run/secrets/token}

They are replaced after parsing, in values only: what comes from outside cannot add structure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<inside>[^}]*)(?P<end>\})?)")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:[-?])(?P<rest>.*))?", re.DOTALL)


class Substituted(str):
    """Text that came, whole or in part, from outside the file; number and truth fields read it by its looks."""

    __slots__ = ()


class Unresolved(Exception):
    """A reference that leads nowhere: what is wrong, and what to write instead."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def substitute(text: str, environment: Mapping[str, str], read: Callable[[str], str]) -> str:
    """Return `text` with every reference replaced; raise Unresolved at the first that cannot be.

    `read` returns the text of a file or raises OSError or ValueError.
    """
    if "$" not in text:
        return text
    replaced = _REFERENCE.sub(lambda found: _value(found, environment, read), text)
    return replaced if replaced == text else Substituted(replaced)


def _value(found: re.Match[str], environment: Mapping[str, str], read: Callable[[str], str]) -> str:
    if found["dollar"]:
        return "$"
    inside = found["inside"]
    if found["end"] is None:
        raise Unresolved(f"'${{{inside}' is not closed", "write ${NAME}, or $${ for the two characters")
    if inside.startswith("file:"):
        return _file(inside.removeprefix("file:"), read)
    parts = _NAME.fullmatch(inside)
    if parts is None:
        raise Unresolved(
            f"'${{{inside}}}' is not a reference", "write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${file:/path}"
        )
    name, how, rest = parts["name"], parts["how"], parts["rest"]
    value = environment.get(name)
    if how == ":-":
        return value or rest
    if how == ":?" and not value:
        raise Unresolved(f"{name} is not set: {rest}" if rest else f"{name} is not set", f"set {name} and start again")
    if value is None:
        raise Unresolved(
            f"the environment has no {name}", f"set {name}, or write a default: ${{{name}:-value}}, or $$ for a dollar"
        )
    return value


def _file(path: str, read: Callable[[str], str]) -> str:
    if not path.startswith("/"):
        raise Unresolved(f"'{path}' is not a full path", "write ${file:/run/secrets/name}")
    try:
        return read(path).rstrip("\r\n")
    except OSError as error:
        raise Unresolved(f"{path} cannot be read: {(error.strerror or 'error').lower()}", "mount the file") from None
    except ValueError as error:
        raise Unresolved(f"{path} cannot be read: {error}", "write a small text file") from None
