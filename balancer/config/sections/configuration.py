"""The whole file: its sections."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from balancer.board import layout
from balancer.config.environment import Substituted
from balancer.config.fields import OFF, Duration, Read, Size, option, shown, size, time, wrong
from balancer.config.sections.access_log import AccessLog
from balancer.config.sections.admin import Admin
from balancer.config.sections.listeners import Listener
from balancer.config.sections.section import Section
from balancer.config.sections.target_groups import TargetGroup
from balancer.config.yaml12 import plain
from balancer.model import snapshot as model

AUTO = 0
MAX_WORKERS = layout.CONTROL_PLACE  # places on the board; the last is control's own
_D = model.Snapshot()


def _workers(value: object) -> int:
    number = plain(value) if isinstance(value, Substituted) else value
    if number == "auto":
        return AUTO
    if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MAX_WORKERS:
        return number
    problem = "is empty" if number is None else f"{shown(value)} is not a number of workers"
    raise wrong(problem, f"write auto, or a number from 1 to {MAX_WORKERS}")


Workers = Annotated[
    int,
    Read(_workers, {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}]}),
]
_AUTO: Any = Field(
    default=AUTO,
    description="Processes that carry the traffic; auto: as many as CPUs may be used. Needs a restart to change.",
    examples=[2],
    json_schema_extra={"default": "auto"},
)


class Configuration(Section):
    """The configuration of a balancer: who may speak to it, and where requests go."""

    admin: Admin = option(Admin(), "The admin server.", {"address": "127.0.0.1:9900"})
    workers: Workers = _AUTO
    stop_timeout: Duration = time(_D.stop_timeout, "What SIGTERM gives to requests in flight.", "30s")
    buffer_limit: Size = size(
        _D.buffer_limit,
        "Bytes that may wait in one worker for slow clients and targets; over it the slowest go.",
        "64MiB",
    )
    access_log: Annotated[AccessLog | None, OFF] = option(
        AccessLog(), "Where finished requests are written, or off.", {"path": "-"}
    )
    listeners: tuple[Listener, ...] = option(
        (), "The addresses that accept clients.", [{"name": "web", "address": "0.0.0.0:8080"}]
    )
    target_groups: tuple[TargetGroup, ...] = option((), "Where requests go.", [{"name": "demo"}])
