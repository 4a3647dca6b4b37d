"""YAML 1.2 text → a node tree that knows file, line and column; nothing is constructed.

PyYAML reads YAML 1.1, where `on` is a truth value and `22:22` a number. So only its parser is used, the C one where
present; what a plain word means is decided in `plain`: the core rules of YAML 1.2 without octal and hexadecimal.
"""

from __future__ import annotations

import io
import re
from typing import Any

import yaml

from balancer.config.fault import Fault, one_line

try:
    from yaml._yaml import CParser as _Parser
except ImportError:  # a PyYAML without libyaml: the same tree, ten times slower
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _Parser(Reader, Scanner, Parser, Composer):  # type: ignore[no-redef]
        def __init__(self, stream: Any) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)


MAX_DEPTH = 100
PLAIN = "plain"  # tags that nodes carry: a word without quotes, text, and the two collections
TEXT = "text"
COLLECTION = "collection"

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_UNSPACED = re.compile(r"[ \t]*(?:- +)?([a-z_]+):[^\s:]+\s*$")  # key:value, which YAML takes for one word
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_REMEDIES = (  # (what the parser says, what is wrong, what to write instead)
    (
        "mapping values are not allowed",
        "a second ': ' in one line",
        "put the value in quotes, or check the indentation",
    ),
    ("undefined alias", "this alias has no anchor", "write &name before its first use, or put the value in quotes"),
    ("duplicate anchor", "this anchor is set twice", "give it another name"),
    ("alphabetic or numeric", "a '*' or '&' without a name", "put the value in quotes"),
    ("another document", "a second document begins here", "write one document a file, without ---"),
    ("found unexpected end of stream", "a quote is not closed", "close it"),
    ("tab character", "a tab indents this line", "use spaces"),
    ("unknown escape character", "an unknown escape in double quotes", "write it in single quotes"),
    ("expected ',' or '}'", "a '{' is not closed", "write a comma between the entries and } at the end"),
    ("expected ',' or ']'", "a '[' is not closed", "write a comma between the entries and ] at the end"),
    ("expected node content", "a bracket is not closed", "write ] or } where it ends"),
    ("expected '-' indicator", "a key in the middle of a list", "indent it under its '- ', or end the list"),
    ("expected key", "this line does not fit the one above", "check indentation and quotes"),
    ("could not find expected ':'", "a key without ':'", "write key: value"),
    ("<document start>", "a bracket too many", "remove it"),
    ("incompatible YAML document", "another version of YAML", "remove the %YAML line"),
)


class _Unfit(Exception):
    """The tree is deeper than anybody writes by hand; stopped before the parser's own recursion is at risk."""

    def __init__(self, mark: Any) -> None:
        super().__init__()
        self.mark = mark


class _Named(io.BytesIO):
    name = ""  # the parser copies it into every mark


class _Loader(_Parser):
    """The parser, with resolvers that only tell plain words from text."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0

    def resolve(self, kind: type[yaml.Node], _value: object, implicit: object) -> str:
        if kind is not yaml.ScalarNode:
            return COLLECTION
        return PLAIN if isinstance(implicit, tuple) and implicit[0] else TEXT

    def descend_resolver(self, parent: yaml.Node | None, _index: object) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Unfit(None if parent is None else parent.start_mark)

    def ascend_resolver(self) -> None:
        self._depth -= 1


def compose(data: bytes, file: str) -> yaml.Node | Fault | None:
    """Return the root node of `data`, None if it is empty, or the fault that makes it unreadable. Never raises."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        return Fault(file, line, column, "", "this is not UTF-8", "save the file as UTF-8")
    stream = _Named(data)
    stream.name = file
    loader = None
    try:
        loader = _Loader(stream)
        node: yaml.Node | None = loader.get_single_node()
    except _Unfit as deep:
        problem = f"nested deeper than {MAX_DEPTH}"
        return _fault(file, deep.mark, problem, "close a bracket, or write fewer levels")
    except yaml.MarkedYAMLError as error:
        return _explained(error, data, file)
    except yaml.YAMLError as error:
        return _unreadable_character(error, data, file)
    finally:
        if loader is not None and hasattr(loader, "dispose"):
            loader.dispose()
    return node


def plain(word: str) -> str | int | float | bool | None:
    """Return what an unquoted word means in YAML 1.2: only true, false, null and decimal numbers are not text."""
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    return word


def _fault(file: str, mark: Any, problem: str, remedy: str) -> Fault:
    line, column = (0, 0) if mark is None else (mark.line, mark.column)
    return Fault(file, line + 1, column + 1, "", one_line(problem), remedy)


def _explained(error: yaml.MarkedYAMLError, data: bytes, file: str) -> Fault:
    said = f"{error.context or ''} {error.problem or ''}"
    mark = error.problem_mark or error.context_mark
    if "cannot start any token" in said and mark is not None:
        character = _line(data, mark.line)[mark.column : mark.column + 1]
        if character == "\t":
            return _fault(file, mark, "a tab indents this line", "use spaces")
        return _fault(file, mark, f"a value cannot begin with '{character}'", "put the value in quotes")
    if "flow" in said and error.context_mark is not None:
        quote = _open_quote(data, error.context_mark.line)
        if quote is not None:
            begun = "write the other one where the text ends, in the same line"
            return Fault(file, error.context_mark.line + 1, quote + 1, "", "this quote is not closed", begun)
    line = _line(data, mark.line) if mark is not None else ""
    if "expected ',' or '}'" in said and "${" in line:
        return _fault(file, mark, "the } of ${…} ends this {…}", 'put it in quotes: "${NAME}"')
    if "mapping values" in said and mark is not None:
        at = next((at for at in (mark.line - 1, mark.line) if _UNSPACED.match(_line(data, at))), None)
        if at is not None:
            key = _UNSPACED.match(_line(data, at))
            assert key is not None
            return Fault(file, at + 1, key.end(1) + 1, "", "a space is missing after the colon", f"write {key[1]}: …")
    for part, problem, remedy in _REMEDIES:
        if part in said:
            return _fault(file, mark, problem, remedy)
    return _fault(file, mark, error.problem or "this is not YAML", "check indentation, quotes and brackets around here")


def _line(data: bytes, number: int) -> str:
    return (data.decode(errors="replace").splitlines()[number : number + 1] or [""])[0] if number >= 0 else ""


def _open_quote(data: bytes, number: int) -> int | None:
    """Return the column of the last double quote in a line that has an odd number of them; None if it has not."""
    line = _line(data, number)
    plain_quotes = line.replace('\\"', "  ")
    return plain_quotes.rindex('"') if plain_quotes.count('"') % 2 else None


def _unreadable_character(error: yaml.YAMLError, data: bytes, file: str) -> Fault:
    found = re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", data)
    if found is None:
        return Fault(file, 1, 1, "", " ".join(str(error).split("\n")[0].split()), "save the file as plain UTF-8 text")
    line = data.count(b"\n", 0, found.start()) + 1
    column = found.start() - (data.rfind(b"\n", 0, found.start()) + 1) + 1
    return Fault(file, line, column, "", f"the control character 0x{found[0][0]:02x}", "remove it")
