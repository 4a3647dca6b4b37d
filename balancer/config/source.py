"""Files and folders → one node tree: lists of named things concatenate, anything else stands in one file only."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from balancer.config.fault import Fault, Finding, Place, Severity
from balancer.config.tree import Tree, grow, place_of
from balancer.config.yaml12 import COLLECTION, compose

MAX_BYTES = 16 * 1024 * 1024
MAX_SECRET_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """What was read: the tree (None if there is none), its faults, warnings and findings, and every file involved."""

    tree: Tree | None
    faults: tuple[Fault, ...]
    findings: tuple[Finding, ...]
    files: tuple[Path, ...]


def read(path: Path, environment: Mapping[str, str]) -> Source:
    """Return the tree of a file, or of the `*.yaml` of a folder in the order of their names. Never raises on input."""
    files, faults = _files(path)
    roots: list[yaml.MappingNode] = []
    for file in files:
        root = _root(file)
        if isinstance(root, Fault):
            faults.append(root)
        elif root is not None:
            roots.append(root)
    if not roots:
        if not any(fault.severity is Severity.ERROR for fault in faults):
            place = str(files[0]) if files else str(path)
            faults.append(Fault(place, 1, 1, "", "nothing is written here", "write listeners and target_groups"))
        return Source(None, tuple(faults), (), tuple(files))
    merged = _merge(roots, faults)
    involved = list(files)

    def reference(name: str) -> str:
        involved.append(Path(name))
        return secret(Path(name))

    tree, findings = grow(merged, environment, reference)
    return Source(tree, tuple(faults), tuple(findings), tuple(dict.fromkeys(involved)))


def secret(file: Path) -> str:
    """Return the text of a small file without its last line end; raise OSError or ValueError."""
    return _bounded(file, MAX_SECRET_BYTES).decode().rstrip("\r\n")


def _files(path: Path) -> tuple[list[Path], list[Fault]]:
    try:
        if not path.is_dir():
            return [path], []
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        entries = [entry for entry in entries if not entry.is_dir()]
    except (OSError, ValueError) as error:
        return [], [_unreadable(path, error)]
    faults = [
        Fault(str(entry), 1, 1, "", "this file is not read", f"call it {entry.stem}.yaml", Severity.WARNING)
        for entry in entries
        if entry.suffix == ".yml"
    ]
    files = [entry for entry in entries if entry.suffix == ".yaml"]
    if not files:
        faults.append(Fault(str(path), 1, 1, "", "no *.yaml in this folder", "write one, such as balancer.yaml"))
    return files, faults


def _root(file: Path) -> yaml.MappingNode | Fault | None:
    try:
        data = _bounded(file, MAX_BYTES)
    except (OSError, ValueError) as error:
        return _unreadable(file, error)
    root = compose(data, str(file))
    if root is None or isinstance(root, Fault | yaml.MappingNode):
        if isinstance(root, yaml.MappingNode) and root.tag != COLLECTION:
            place = place_of(root)
            return Fault(
                place.file, place.line, place.column, "", f"the tag {root.tag} means nothing here", "remove it"
            )
        return root
    if isinstance(root, yaml.ScalarNode) and root.value in ("", "~", "null"):
        return None
    place = place_of(root)
    return Fault(
        place.file, place.line, place.column, "", "this is not a set of sections", "write listeners: and so on"
    )


def _bounded(file: Path, most: int) -> bytes:
    with open(file, "rb", opener=_opened) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError(f"larger than {most // 1024} KiB")
    return data


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe without a writer must not stop the reader


def _unreadable(path: Path, error: Exception) -> Fault:
    said = (error.strerror or "error").lower() if isinstance(error, OSError) else str(error)
    remedy = "name a file, or a folder with *.yaml in it"
    if isinstance(error, PermissionError):
        remedy = "make it readable for this user"
    elif isinstance(error, OSError) and error.errno == errno.ELOOP:
        remedy = "make the link lead to a file"
    return Fault(str(path), 1, 1, "", f"cannot be read: {said}", remedy)


def _merge(roots: list[yaml.MappingNode], faults: list[Fault]) -> yaml.MappingNode:
    """Return one root. Inside one file nothing is merged: a key written twice there stays a fault of its own."""
    if len(roots) == 1:
        return roots[0]
    pairs: list[tuple[yaml.Node, yaml.Node]] = []
    for root in roots:
        earlier = {key.value: index for index, (key, _) in enumerate(pairs)}
        here: set[str] = set()
        for key, value in root.value:
            index = earlier.get(key.value) if isinstance(key, yaml.ScalarNode) else None
            if index is None or key.value in here:
                pairs.append((key, value))
                continue
            here.add(key.value)
            first_key, first = pairs[index]
            if isinstance(first, yaml.SequenceNode) and isinstance(value, yaml.SequenceNode):
                both = [*first.value, *value.value]
                joined = yaml.SequenceNode(first.tag, both, first.start_mark, first.end_mark)
                pairs[index] = (first_key, joined)
            else:
                faults.append(_twice(key, place_of(first_key)))
    return yaml.MappingNode(COLLECTION, pairs, roots[0].start_mark, roots[-1].end_mark)


def _twice(key: yaml.Node, first: Place) -> Fault:
    place = place_of(key)
    problem = f"this section stands in {first} too"
    return Fault(place.file, place.line, place.column, key.value, problem, "keep it in one of the files")
