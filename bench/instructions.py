"""Instructions per request of the data path, counted by callgrind on scripted transports: the same on a busy machine.

    python -m bench.instructions                    # each case, in instructions a request
    python -m bench.instructions --at-most same=40000,zipf=60000    # exit 1 where a case needs more
    python -m bench.instructions --time             # the same cases by the clock, in ns (best of 5)

The program runs itself under valgrind. What a case costs is the difference between a long and a short run of it, so
that starting up and dumping the counts are no part of it.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from balancer.data.deadlines import NEVER
from bench.micro import BODY, DataPath, Listening, request, response

_FEW, _MANY = 200, 600  # requests of the short and of the long run
_INSIDE = "BALANCER_COUNTED"
_DUMP = re.compile(r"^desc: Trigger:.*?([a-z-]+)=([0-9]+)$", re.MULTILINE)
_TOTAL = re.compile(r"^totals: ([0-9]+)", re.MULTILINE)


class Case:
    """One kind of load: `run(n)` carries n requests; the bytes are made beforehand."""

    def __init__(self, path: DataPath, make: Callable[[int], tuple[bytes, bytes]], *, connect: bool = False) -> None:
        self.path = path
        self._make = make
        self._connect = connect
        self._serial = 0
        self._ready: list[tuple[bytes, bytes]] = []

    def prepare(self, count: int) -> None:
        """Make the bytes of `count` requests, each an object of its own."""
        made = [self._make(number) for number in range(self._serial, self._serial + count)]
        self._serial += count
        self._ready = [(bytes(bytearray(head)), bytes(bytearray(answer))) for head, answer in made]

    def run(self) -> None:
        """Carry what was prepared."""
        path = self.path
        for upstream in path.upstreams:
            upstream.deadline = NEVER  # making the bytes may have taken longer than a connection rests
        if not self._connect:
            for head, answer in self._ready:
                path.exchange(head, answer)
            return
        for head, answer in self._ready:
            path.connect(Listening())
            path.exchange(head, answer)
            path.client.connection_lost(None)


def cases(loop: uvloop.Loop, log: str) -> dict[str, Case]:
    """Return the cases of `bench/run.py` that are about small messages, and two about answers and the log."""
    dice = random.Random(1)
    paths = [1 / (rank + 1) for rank in range(1000)]
    clients = [1 / (rank + 1) for rank in range(200)]
    drawn = [
        (path, client)
        for path, client in zip(dice.choices(range(1000), paths, k=60_000), dice.choices(range(200), clients, k=60_000))
    ]
    plain = response() + BODY
    closing = request().replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    return {
        "same": Case(DataPath(loop), lambda _: (request(), plain)),
        "log": Case(DataPath(loop, log=log), lambda _: (request(), plain)),
        "zipf": Case(DataPath(loop), lambda number: (request(*drawn[number % len(drawn)]), plain)),
        "unique": Case(DataPath(loop), lambda number: (request(number, number), plain)),
        "etag": Case(DataPath(loop), lambda number: (request(), response(number) + BODY)),
        "new-connections": Case(DataPath(loop), lambda _: (closing, plain), connect=True),
    }


def _warm(case: Case, name: str) -> None:
    case.prepare(6000 if name == "zipf" else 300)
    case.run()


def _count_inside(only: list[str], folder: Path) -> None:
    """Under valgrind: run each case short and long, with a dump of the counts before and after each."""
    loop = uvloop.new_event_loop()
    for name, case in cases(loop, os.devnull).items():
        if only and name not in only:
            continue
        _warm(case, name)
        for count in (_FEW, _MANY):
            case.prepare(count)
            _dump("rest")
            case.run()
            _dump(f"{name}={count}")


def _dump(title: str) -> None:
    subprocess.run(
        ["callgrind_control", f"--dump={title}", str(os.getpid())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def count(only: list[str]) -> dict[str, float]:
    """Return instructions a request by case."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={folder}/out",
                sys.executable,
                "-m",
                "bench.instructions",
                "--only",
                ",".join(only),
            ],
            env={**os.environ, _INSIDE: folder, "PYTHONHASHSEED": "1"},
            stderr=subprocess.DEVNULL,
            check=True,
        )
        totals: dict[str, dict[int, int]] = {}
        for dump in Path(folder).glob("out.*"):
            text = dump.read_text(errors="replace")
            title = _DUMP.search(text)
            total = _TOTAL.search(text)
            if title is None or total is None:
                continue
            totals.setdefault(title[1], {})[int(title[2])] = int(total[1])
    return {name: (both[_MANY] - both[_FEW]) / (_MANY - _FEW) for name, both in totals.items()}


def clock(only: list[str]) -> dict[str, float]:
    """Return ns of CPU time a request by case, the best of the rounds."""
    loop = uvloop.new_event_loop()
    found = {}
    for name, case in cases(loop, os.devnull).items():
        if only and name not in only:
            continue
        _warm(case, name)
        rounds = []
        for _ in range(5):
            case.prepare(5000)
            began = time.process_time_ns()
            case.run()
            rounds.append((time.process_time_ns() - began) / 5000)
        found[name] = min(rounds)
    return found


def main() -> int:
    """Return the exit code: 1 when a case needs more than it may."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", default="", metavar="A,B", help="these cases")
    parser.add_argument("--at-most", default="", metavar="CASE=N,…", help="the instructions that a case may need")
    parser.add_argument("--time", action="store_true", help="by the clock, in ns, instead of instructions")
    options = parser.parse_args()
    only = [name for name in options.only.split(",") if name]
    if inside := os.environ.get(_INSIDE):
        _count_inside(only, Path(inside))
        return 0
    if not options.time and shutil.which("callgrind_control") is None:
        print("valgrind is not installed (apt-get install valgrind)", file=sys.stderr)
        return 1
    print(f"Python {sys.version.split()[0]}, {sys.executable}")
    found = clock(only) if options.time else count(only)
    limits = dict(word.split("=") for word in options.at_most.split(",") if word)
    worse = False
    for name, figure in found.items():
        limit = int(limits.get(name, 0))
        over = bool(limit) and figure > limit
        worse = worse or over
        print(f"{name:<20}{figure:>10.0f}{' ns' if options.time else ''}{f'  over {limit}' if over else ''}")
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
