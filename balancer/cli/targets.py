"""How commands that steer a target find it, say what they will do, ask whether they may, and tell what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import click

from balancer.cli.admin import admin_option, ask
from balancer.cli.faults import InputFault
from balancer.cli.tell import tell
from balancer.model.meant import meant

Target = dict[str, Any]
_Command = TypeVar("_Command", bound=Callable[..., Any])


def steering(command: _Command) -> _Command:
    """Give a command what every one that changes something has: --dry-run, --yes, --json, --admin."""
    for option in (
        admin_option,
        click.option("--json", "as_json", is_flag=True, help="Print the target as one JSON document."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Say what would happen, and do nothing."),
    ):
        command = option(command)
    return command


def find(admin: str, word: str) -> tuple[dict[str, Any], Target]:
    """Return the target group and target that `word` names: group/target, or the target alone where it is enough."""
    code, status = ask(admin, "/api/v1/status", needs="target_groups")
    if code != 200:
        raise InputFault(f"{admin}: {status.get('detail', code)}")
    every = [(group, target) for group in status["target_groups"] for target in group["targets"]]
    found = [pair for pair in every if word in (pair[1]["name"], full(*pair))]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(full(*pair) for pair in found)
        raise InputFault(f"TARGET: {word!r} is the name of {len(found)} targets (write one of {names})")
    known = [full(*pair) for pair in every]
    near = meant(word, [*known, *(target["name"] for _, target in every)], cutoff=0.5)
    remedy = f"did you mean {near!r}?" if near else f"there are {', '.join(known[:10]) or 'none'}"
    raise InputFault(f"TARGET: there is no target {word!r} ({remedy})")


def full(group: dict[str, Any], target: Target) -> str:
    """Return the whole name of a target."""
    return f"{group['name']}/{target['name']}"


def path(group: dict[str, Any], target: Target, what: str = "") -> str:
    """Return the path of a target, or of something of it, in the admin API."""
    base = f"/api/v1/target_groups/{quote(group['name'], safe='')}/targets/{quote(target['name'], safe='')}"
    return f"{base}/{what}" if what else base


def available(group: dict[str, Any], without: Target | None = None) -> int:
    """Return how many targets of a group serve, one of them left out."""
    return sum(
        one["state"] in ("healthy", "unknown")
        and one["weight"] > 0
        and (without is None or one["name"] != without["name"])
        for one in group["targets"]
    )


def may(told: str, *, yes: bool, dry_run: bool) -> bool:
    """Say what will happen and ask; return whether to go on. A script must say --yes."""
    import sys

    if dry_run:
        tell(f"would happen: {told}")
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(f"{told}: nobody is there to be asked (add --yes)")
    click.confirm(f"{told}. Go on?", abort=True, err=True)
    return True


def do(admin: str, method: str, where: str, body: dict[str, Any] | None = None) -> Target:
    """Have it done; return the target as it is then. Raises InputFault with what the balancer says against it."""
    code, document = ask(admin, where, needs="state", method=method, body=body)
    if code != 200:
        raise InputFault(f"{admin}: {document.get('detail', code)}")
    return document


def show(target: Target, told: str, *, as_json: bool) -> None:
    """Tell what came of it."""
    import json

    tell(json.dumps(target, indent=2, ensure_ascii=False) if as_json else told)
