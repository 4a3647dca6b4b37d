"""report: a drill as the JSON of the admin API, while it runs and for later. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from balancer.control.drill.course import Course, End, Stage
from balancer.control.drill.readings import Reading, between, together

Json = dict[str, Any]
_SAID = {
    End.TIME_OVER: "its time was over",
    End.STOPPED: "it was stopped",
    End.GUARD_RAIL: "the guard rail was crossed",
    End.CONTROL_LOST: "the control process was lost",
}


def report(course: Course) -> Json:
    """Return a drill as it stands."""
    wish = course.wish
    began, ended = course.began_at, course.ended_at
    done = together(course.last.values()).at if course.stage is Stage.DONE else None
    phases = _phases(course, course.groups)
    return {
        "id": course.id,
        "zone": wish.zone,
        "groups": list(course.groups),
        "stage": course.stage.value,
        "asked_at": _time(course.asked_wall),
        "began_at": _wall(course, began),
        "ended_at": _wall(course, ended),
        "done_at": _wall(course, done),
        "for_s": wish.seconds,
        "max_failures_percent": wish.most_failed,
        "end": course.end.value if course.end is not None else None,
        "detail": course.detail,
        "left_s": _since(course.left_at, began),
        "empty_s": _since(course.empty_at, began),
        "back_s": _since(course.back_at, ended),
        "share_back_s": _since(course.share_back_at, ended),
        "phases": phases,
        "target_groups": [{"name": name, "phases": _phases(course, (name,))} for name in course.groups],
        "left_out": 0,
        "summary": _summary(course, phases),
    }


def cut_off(document: Json) -> Json:
    """Return the report of a drill whose control process was lost: it ended with that."""
    if document["stage"] == Stage.DONE:
        return document
    ended = {**document, "stage": Stage.DONE.value}
    if document["end"] is None:
        ended["end"] = End.CONTROL_LOST.value
        ended["detail"] = "the zone serves again; figures are those of the last look"
        ended["summary"] = f"{document['zone']}: the control process was lost while the drill ran, which ended it"
    return ended


def shorter(document: Json) -> Json | None:
    """Return the report with fewer groups told one by one, None if none is left to leave out."""
    groups = document["target_groups"]
    if not groups:
        return None
    kept = groups[: len(groups) // 2]
    return {**document, "target_groups": kept, "left_out": document["left_out"] + len(groups) - len(kept)}


def _phases(course: Course, groups: Iterable[str]) -> Json:
    names = list(groups)
    turns = [_of(names, turn) for turn in (course.asked, course.began, course.ended, course.last)]
    asked, began, ended, last = turns
    assert asked is not None and last is not None
    return {
        "before": asdict(between(asked, began or last)),
        "during": asdict(between(began, ended or last)) if began else None,
        "after": asdict(between(ended, last)) if ended else None,
    }


def _of(names: list[str], turn: dict[str, Reading] | None) -> Reading | None:
    return None if turn is None else together(turn[name] for name in names if name in turn)


def _summary(course: Course, phases: Json) -> str:
    zone, during = course.wish.zone, phases["during"]
    if course.stage is Stage.BEFORE:
        return f"{zone}: watching before it is failed"
    if during is None:
        return (
            f"{zone} was not failed: {_SAID[course.end or End.STOPPED]}{f' ({course.detail})' if course.detail else ''}"
        )
    told = f"{during['requests']} requests, {during['failures']} failed"
    if course.stage is Stage.RUNNING:
        return f"{zone} is failed on purpose: {told} so far"
    why = _SAID[course.end or End.STOPPED] + (f" ({course.detail})" if course.detail else "")
    return f"{zone} was failed for {during['seconds']:g} s until {why}: {told}"


def _since(at: float | None, start: float | None) -> float | None:
    return None if at is None or start is None else round(max(0.0, at - start), 3)


def _wall(course: Course, at: float | None) -> str | None:
    return None if at is None else _time(course.asked_wall + at - course.asked_at)


def _time(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
