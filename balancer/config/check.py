"""What only the whole tree can show: the checks, each over what is sound of the configuration."""

from __future__ import annotations

from dataclasses import replace

from balancer.config.checks.groups import groups
from balancer.config.checks.machine import machine
from balancer.config.checks.names import repeated_names
from balancer.config.checks.rules import rules
from balancer.config.checks.scope import Scope
from balancer.config.fault import Finding
from balancer.config.tree import Tree
from balancer.config.validate import Validated


def check(
    tree: Tree, validated: Validated, nofile: int | None = None, stop_grace: float | None = None
) -> list[Finding]:
    """Return the faults and warnings of the whole, from `Scope` on: see there for `nofile` and `stop_grace`."""
    findings = list(repeated_names(tree))
    if validated.configuration is not None:
        given = tree.data.get("target_groups")
        names = (item.get("name") for item in (given if isinstance(given, tuple) else ()) if isinstance(item, dict))
        group_names = frozenset(name for name in names if isinstance(name, str))
        scope = Scope(
            configuration=validated.configuration,
            group_names=None if ("target_groups",) in validated.broken else group_names,
            is_whole=lambda steps: validated.is_whole(validated.original(steps)),
            nofile=nofile,
            stop_grace=stop_grace,
        )
        for part in (machine, rules, groups):
            findings += [replace(found, steps=validated.original(found.steps)) for found in part(scope)]
    return findings
