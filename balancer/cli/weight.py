"""`balancer weight`: gives a target another weight than the configuration does, or the configuration's again."""

from __future__ import annotations

import click

from balancer.cli import targets
from balancer.cli.targets import steering

_MOST = 1000
_RESET = "reset"


@click.command("weight", context_settings={"ignore_unknown_options": True})  # -1 is a weight that is wrong, no option
@click.argument("target")
@click.argument("weight", metavar="N|reset")
@steering
def weight(target: str, weight: str, dry_run: bool, yes: bool, as_json: bool, admin: str) -> None:
    """Give TARGET the weight N (0 to 1000), or with `reset` that of the configuration.

    It holds from the next pick on, over reloads and restarts of the control process. Weight 0 gives no new requests.

    \b
    Examples:
      balancer weight demo/a1 3
      balancer weight a1 reset --yes

    \b
    Exit codes:
      0  the target has that weight
      1  there is no such target, or nothing answers at the admin URL
      2  wrong usage, N is no weight, or nobody to be asked and no --yes
    """
    if weight != _RESET and not (weight.isascii() and weight.isdigit() and int(weight) <= _MOST):
        raise click.BadParameter(f"{weight!r} is not a weight (write a whole number from 0 to {_MOST}, or reset)")
    group, found = targets.find(admin, target)
    name = targets.full(group, found)
    new = found["configured_weight"] if weight == _RESET else int(weight)
    whole = sum(one["weight"] for one in group["targets"] if one["name"] != found["name"]) + new
    part = f"{100 * new / whole:.0f}% of the weight of {group['name']}" if whole else "nobody is left to serve"
    if not targets.may(f"weight of {name}: {found['weight']} → {new}, {part}", yes=yes, dry_run=dry_run):
        return
    where = targets.path(group, found, "weight")
    if weight == _RESET:
        after = targets.do(admin, "DELETE", where)
    else:
        after = targets.do(admin, "PUT", where, {"weight": new})
    targets.show(after, f"{name} has weight {after['weight']}", as_json=as_json)
