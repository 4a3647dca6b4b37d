"""`zones:` how the zones of a group share its traffic."""

from __future__ import annotations

from typing import Annotated

from balancer.config.fields import WRITTEN, Duration, Name, one_of, option, time, whole
from balancer.config.sections.section import Section
from balancer.model import snapshot as model
from balancer.model.names import ZoneMode

_D = model.Zones()


class Zones(Section):
    """How the zones of a group share its traffic, and when one is given up."""

    mode: Annotated[ZoneMode, one_of(ZoneMode)] = option(
        _D.mode,
        "spread: all together; local_first: one before the others; active_backup: one after the other.",
        "local_first",
    )
    local: Annotated[Name | None, WRITTEN] = option(None, "The zone that local_first prefers.", "zone-a")
    order: tuple[Name, ...] = option((), "The zones of active_backup, best first.", ["zone-a", "zone-b"])
    overprovisioning_factor: Annotated[int, whole(100, 1000)] = option(
        _D.overprovisioning_factor, "In percent: at 140 a zone keeps all its traffic down to 71 % of its targets.", 200
    )
    panic_threshold: Annotated[int, whole(0, 100)] = option(
        _D.panic_threshold, "In percent: with fewer available targets all that may live are used; 0 never.", 30
    )
    failback_delay: Duration = time(
        _D.failback_delay, "How long a preferred zone must be well before it gets traffic back.", "10s"
    )
    failback_ramp: Duration = time(_D.failback_ramp, "How long its share then takes to grow.", "1m")
