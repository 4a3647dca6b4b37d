"""The cases: what is sent, over how many connections, through which variant of the configurations."""

from __future__ import annotations

from dataclasses import dataclass

BODY, MIB = 200, 1024 * 1024
TARGETS = 5


@dataclass(frozen=True, slots=True)
class Variant:
    """How the configurations of a case differ from those in `peers/`."""

    key: str = "base"
    targets: int = TARGETS
    rules: int = 1
    log: bool = False
    workers: int = 1


BASE = Variant()


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of load. `rate`: share of nginx's peak at which requests are due, 0 for a closed loop."""

    key: str
    title: str
    heads: str = "same"
    connections: int = 64
    down: int = BODY
    up: int = 0
    chunked: bool = False
    rate: float = 0.0
    variant: Variant = BASE
    beside: str = ""  # the case with which a proxy's figure is compared with its own
    leave_out: tuple[str, ...] = ()
    seconds: float = 1.0  # slices are so many times as long
    wrk: bool = False  # the load comes from wrk instead of our own generator


def _bodies() -> list[Case]:
    cases = []
    for size in (1, 100):
        for heads, word in (("down", "downloads"), ("up", "uploads")):
            for chunked in (False, True):
                cases.append(
                    Case(
                        f"{heads}-{size}m{'-chunked' * chunked}",
                        f"{size} MiB {word}, {'chunked' if chunked else 'by length'}",
                        heads,
                        connections=16 if size == 1 else 4,
                        down=size * MIB if heads == "down" else BODY,
                        up=size * MIB if heads == "up" else 0,
                        chunked=chunked,
                    )
                )
    return cases


CASES = (
    Case("same", "one request head, of a browser"),
    Case("zipf", "varied heads: 1 000 paths x 200 clients, both zipf-distributed", "zipf"),
    Case("unique", "no head ever repeats: a new path and a new cookie each time", "unique"),
    Case("same-wrk", "one request head, sent by wrk", wrk=True),
    Case("zipf-wrk", "varied heads, sent by wrk", "zipf", wrk=True),
    Case("new-connections", "a new connection for each request", "close"),
    *_bodies(),
    Case("c512", "512 busy connections", connections=512, beside="same"),
    Case("c4096", "4 096 busy connections", connections=4096, beside="same"),
    Case("latency-30", "open loop at 30 % of nginx's peak, varied heads", "zipf", rate=0.3, seconds=2.0),
    Case("latency-60", "open loop at 60 % of nginx's peak, varied heads", "zipf", rate=0.6, seconds=2.0),
    Case("targets-500", "500 targets, least connections", variant=Variant("targets-500", targets=500), beside="same"),
    Case(
        "rules-1000",
        "1 000 rules, one for each path",
        "zipf",
        variant=Variant("rules-1000", rules=1000),
        beside="zipf",
        leave_out=("aiohttp",),
    ),
    Case("log", "access log on, JSON to a file", variant=Variant("log", log=True), beside="same"),
    Case("two-workers", "two workers, both on the one core", variant=Variant("two-workers", workers=2), beside="same"),
)
