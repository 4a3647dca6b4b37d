"""`balancer undrain`: lets a drained target serve again."""

from __future__ import annotations

import click

from balancer.cli import targets
from balancer.cli.targets import steering


@click.command("undrain")
@click.argument("target")
@steering
def undrain(target: str, dry_run: bool, yes: bool, as_json: bool, admin: str) -> None:
    """Let TARGET serve again: it is checked at once and gets requests after the first good check.

    It ends a drain by the operator, one that the target asked for, and one of the configuration (`drain: true`), which
    stays as it is written.

    \b
    Examples:
      balancer undrain a1
      balancer undrain demo/a1 --yes

    \b
    Exit codes:
      0  the target serves again, or will after its next good check
      1  there is no such target, the configuration disables it, or nothing answers at the admin URL
      2  wrong usage, or nobody to be asked and no --yes
    """
    group, found = targets.find(admin, target)
    name = targets.full(group, found)
    if not targets.may(f"undrain {name}: it gets requests again after its next good check", yes=yes, dry_run=dry_run):
        return
    after = targets.do(admin, "POST", targets.path(group, found, "undrain"))
    told = f"{name} is {after['state']}"
    if after["state"] == "unknown":
        told += ": it serves after its next good check"
    targets.show(after, told, as_json=as_json)
