"""Names: each once in its list."""

from __future__ import annotations

from collections.abc import Iterator

from balancer.config.fault import Finding, Steps
from balancer.config.tree import Tree


def repeated_names(tree: Tree) -> Iterator[Finding]:
    """Yield a fault for each name that is given twice, with the place of the first."""
    yield from _repeated(tree, ("listeners",), "listener")
    yield from _repeated(tree, ("target_groups",), "target group")
    for steps, kind in ((("listeners",), "rules"), (("target_groups",), "targets")):
        for index, item in enumerate(_items(tree, steps)):
            if isinstance(item, dict) and kind in item:
                yield from _repeated(tree, (*steps, index, kind), kind.removesuffix("s"))


def _repeated(tree: Tree, steps: Steps, kind: str) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, item in enumerate(_items(tree, steps)):
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            continue
        if name in first:
            place = tree.place((*steps, first[name], "name"))
            problem = f"the {kind} '{name}' is there already, in {place}"
            yield Finding((*steps, index, "name"), problem, "give one of them another name")
        else:
            first[name] = index


def _items(tree: Tree, steps: Steps) -> tuple[object, ...]:
    value: object = tree.data
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, tuple) and isinstance(step, int):
            value = value[step]
    return value if isinstance(value, tuple) else ()
