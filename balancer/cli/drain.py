"""`balancer drain`: takes a target out gently, and waits until nothing runs there any more if asked to."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import click

from balancer.cli import targets
from balancer.cli.admin import ask
from balancer.cli.targets import steering
from balancer.cli.tell import tell

_LOOK = 0.25  # seconds between two looks
_SAY = 5.0  # seconds between two lines where nobody watches
_GRACE = 3.0  # seconds that cutting what runs on may take beyond the drain time


@click.command("drain")
@click.argument("target")
@click.option("--wait", is_flag=True, help="Return when nothing runs there any more, or the drain time is over.")
@steering
def drain(target: str, wait: bool, dry_run: bool, yes: bool, as_json: bool, admin: str) -> None:
    """Give TARGET no new requests; those that run there may finish within the group's drain_timeout.

    TARGET is group/target, or the target's name alone where only one has it. The drain lasts until `balancer undrain`,
    over reloads and restarts of the control process. After `--wait` the target can be stopped: no client will notice.

    \b
    Examples:
      balancer drain a1
      balancer drain demo/a1 --wait --yes && docker stop backend-a-1
      balancer drain a1 --dry-run

    \b
    Exit codes:
      0  the target is drained; with --wait: nothing runs there any more
      1  there is no such target, it cannot be drained, or nothing answers at the admin URL
      2  wrong usage, or nobody to be asked and no --yes
    """
    group, found = targets.find(admin, target)
    if not targets.may(_what(group, found), yes=yes, dry_run=dry_run):
        return
    after = targets.do(admin, "POST", targets.path(group, found, "drain"))
    name = targets.full(group, found)
    told = f"{name} is {after['state']}: {_running(after)}"
    if wait:
        after, told = _wait(admin, targets.path(group, found), name, after, quiet=as_json)
    targets.show(after, told, as_json=as_json)


def _what(group: dict[str, Any], target: dict[str, Any]) -> str:
    left = targets.available(group, target)
    rest = f"{left} of {len(group['targets'])} targets of {group['name']} go on serving"
    if not left:
        rest = f"NOBODY is left in {group['name']}: its requests will get 503"
    where = f"{targets.full(group, target)} ({target['address']}, {target['zone']})"
    return f"drain {where}: no new requests, {_running(target)}; {rest}"


def _running(target: dict[str, Any]) -> str:
    count = target["active_requests"]
    return "nothing runs there" if not count else f"{count} request{'' if count == 1 else 's'} still run there"


def _wait(admin: str, path: str, name: str, target: dict[str, Any], *, quiet: bool) -> tuple[dict[str, Any], str]:
    """Return the target, and what to say, once nothing runs there, its time is over, or it is gone."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    said = time.monotonic()
    with console.status(name) as spinner:
        while True:
            until = target["drain_until"]
            if not target["active_requests"]:
                return target, f"{name} is {target['state']}: nothing runs there any more"
            if until is None:
                return target, f"{name} is {target['state']} again: somebody else ended its drain"
            left = (datetime.fromisoformat(until.replace("Z", "+00:00")) - datetime.now(UTC)).total_seconds()
            if left < -_GRACE:
                return target, f"{name}: its drain time is over and {_running(target)}"
            told = f"waiting for {name}: {_running(target)}, {max(0, round(left))} s left"
            spinner.update(told)
            if not console.is_terminal and not quiet and time.monotonic() - said >= _SAY:
                said = time.monotonic()
                tell(told, err=True)
            time.sleep(_LOOK)
            code, document = ask(admin, path)
            if code == 404:
                return target, f"{name} is gone: it left the configuration, or is not found any more"
            if code == 200:
                target = document
