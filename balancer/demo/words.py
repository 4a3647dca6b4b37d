"""What the demo prints: where everything is, what to try, and a line whenever something has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from balancer.demo.product import Product
from balancer.demo.sight import Sight
from balancer.demo.targets import ZONES, Target
from balancer.demo.view import Load


def to_try(listener: str, admin: str, config: Path, targets: Sequence[Target]) -> tuple[tuple[str, str], ...]:
    """Return three things to try, each as what it shows and what to type."""
    zone = [str(target.pid) for target in targets if target.zone == ZONES[0] and target.pid]
    return (
        ("who answers", f"curl -i {listener}/"),
        (f"freeze {ZONES[0]}", f"kill -STOP {' '.join(zone)}" if zone else "(it is stopped)"),
        ("reload by itself", f"add `policy: least_conn` to the group in {_near(config)}"),
    )


def opening(product: Product, targets: Sequence[Target], log: Path, remarks: Sequence[str]) -> str:
    """Return what is printed once everything runs."""
    lines = [f"note      {remark}" for remark in remarks]
    lines += [f"listener  {product.listener}", f"admin     {product.admin}", f"config    {_near(product.config)}"]
    lines += [f"log       {log}"]
    for zone in ZONES:
        here = (f"{one.name} {one.address} pid {one.pid}" for one in targets if one.zone == zone)
        lines.append(f"{zone:<9} {', '.join(here)}")
    lines.append("Try")
    tries = to_try(product.listener, product.admin, product.config, targets)
    lines += [f"  {what + ':':<18}{how}" for what, how in tries]
    return "\n".join(lines)


def change(at: str, events: Sequence[str], sight: Sight, load: Load | None) -> str:
    """Return the line that tells of changes; never more than one is printed in a second."""
    total = sum(zone.total for zone in sight.zones)
    state = f"{sight.healthy} of {total} targets healthy, {sight.per_second:.1f} requests/s"
    if load is not None:
        state += f", {load.failed} of {load.sent} failed"
    return f"{at}  {'; '.join(events)}  [{state}]"


def closing(load: Load | None) -> str:
    """Return the last line: what has become of the traffic."""
    return "stopping" if load is None else f"stopping: {load.sent} requests sent, {load.failed} failed"


def _near(path: Path) -> str:
    """Return a path as one would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, FileNotFoundError):
        return str(path)
