"""Tree: the plain data of one or more files, and the way back from each value to its place.

Places are looked up in the node tree when somebody asks; a file without faults pays nothing for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from balancer.config.environment import Unresolved, substitute
from balancer.config.fault import Fault, Finding, Place, Steps, one_line
from balancer.config.yaml12 import COLLECTION, MAX_DEPTH, PLAIN, TEXT, plain

MAX_NODES = 500_000  # what aliases may expand to


def place_of(node: yaml.Node) -> Place:
    """Return where a node begins."""
    mark: Any = node.start_mark
    return Place(mark.name, mark.line + 1, mark.column + 1)


@dataclass(frozen=True, slots=True)
class Tree:
    """`data`: dicts, tuples and scalars. `root`: the nodes they came from."""

    data: dict[str, Any]
    root: yaml.MappingNode
    _pairs: dict[int, dict[str, tuple[yaml.Node, yaml.Node]]] = field(default_factory=dict, repr=False, compare=False)

    def place(self, steps: Steps, *, on_key: bool = False) -> Place:
        """Return the place of the value (or the key) at `steps`, or of the nearest thing around it that exists."""
        node: yaml.Node = self.root
        key: yaml.Node = self.root
        for step in steps:
            if isinstance(node, yaml.MappingNode):
                pair = self._by_key(node).get(step) if isinstance(step, str) else None
                if pair is None:
                    return place_of(node)
                key, node = pair
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                key = node = node.value[step]
            else:
                break
        return place_of(key if on_key else node)

    def _by_key(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return the pairs of a mapping by key, the first of each: many faults may be told of one mapping."""
        pairs = self._pairs.get(id(node))
        if pairs is None:
            pairs = self._pairs[id(node)] = {}
            for pair in node.value:
                if isinstance(pair[0], yaml.ScalarNode):
                    pairs.setdefault(pair[0].value, pair)
        return pairs

    def path(self, steps: Steps) -> str:
        """Return the steps as people read them: list items by their name where they have one."""
        value: Any = self.data
        text = ""
        for step in steps:
            if isinstance(step, int):
                value = value[step] if isinstance(value, tuple) and step < len(value) else None
                name = value.get("name") if isinstance(value, dict) else None
                text += f".{name}" if isinstance(name, str) and name and name.isprintable() else f"[{step}]"
            else:
                value = value.get(step) if isinstance(value, dict) else None
                text += f".{step}" if text else step
        return text

    def fault(self, finding: Finding) -> Fault:
        """Return the finding with its place and its path in words."""
        place = finding.place or self.place(finding.steps, on_key=finding.on_key)
        path, problem, remedy = map(one_line, (self.path(finding.steps), finding.problem, finding.remedy))
        return Fault(place.file, place.line, place.column, path, problem, remedy, finding.severity)


def grow(
    root: yaml.MappingNode, environment: Mapping[str, str], read: Callable[[str], str]
) -> tuple[Tree, list[Finding]]:
    """Return the tree of a root node, with what was wrong on the way: keys, tags, depth, references."""
    walk = _Walk(environment, read)
    data = walk.mapping(root, ())
    return Tree(data, root), walk.findings


class _Walk:
    """One pass over the nodes; where something is wrong a finding is kept and TOLD stands in its place."""

    def __init__(self, environment: Mapping[str, str], read: Callable[[str], str]) -> None:
        self._environment = environment
        self._read = read
        self._count = 0
        self.findings: list[Finding] = []

    def _fault(self, node: yaml.Node, steps: Steps, problem: str, remedy: str) -> None:
        self.findings.append(Finding(steps, problem, remedy, place=place_of(node)))

    def value(self, node: yaml.Node, steps: Steps) -> Any:
        self._count += 1
        if self._count > MAX_NODES:
            if self._count == MAX_NODES + 1:
                self._fault(node, (), f"aliases make more than {MAX_NODES} values", "write fewer aliases of aliases")
            return TOLD
        if len(steps) > MAX_DEPTH:
            self._fault(node, steps[:3], f"nested deeper than {MAX_DEPTH}", "an alias inside itself never ends")
            return TOLD
        if node.tag not in (PLAIN, TEXT, COLLECTION):
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._fault(node, steps, f"the tag {tag} means nothing here", "remove it")
            return TOLD
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, steps)
        if isinstance(node, yaml.SequenceNode):
            return tuple([self.value(item, (*steps, index)) for index, item in enumerate(node.value)])
        return self._scalar(node, steps)

    def mapping(self, node: yaml.MappingNode, steps: Steps) -> dict[str, Any]:
        found: dict[str, Any] = {}
        first: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, steps, "a key that is not a word", "write key: value")
            elif key.tag == PLAIN and key.value == "<<":
                self._fault(key, steps, "merge keys are not part of YAML 1.2", "repeat the keys")
            elif key.value in found:
                where = place_of(first[key.value])
                self._fault(key, (*steps, key.value), f"written twice, first in {where}", "keep one of them")
            else:
                first[key.value] = key
                found[key.value] = self.value(value, (*steps, key.value))
        return found

    def _scalar(self, node: yaml.Node, steps: Steps) -> Any:
        text: str = node.value
        if "$" in text:
            try:
                return substitute(text, self._environment, self._read)
            except Unresolved as unresolved:
                self._fault(node, steps, unresolved.problem, unresolved.remedy)
                return TOLD
        return plain(text) if node.tag == PLAIN else text


class _Told:
    """Stands in place of a value whose fault is told already."""


TOLD = _Told()
