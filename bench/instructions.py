"""Instructions per request of the data path, counted by callgrind on scripted transports: the same on a busy machine.

    python -m bench.instructions            # each case beside its record; exit 1 when one is over by more than 7 %
    python -m bench.instructions --record   # these figures are the record of this interpreter from now on
    python -m bench.instructions --time     # the same cases by the clock, in ns (best of 5)

The program runs itself under valgrind. What a case costs is the difference between a long and a short run of it, so
that starting up and dumping the counts are no part of it. Time is told by a clock that counts how often it is asked,
and dice and hashes are always the same: so are the figures, but for what the writer of the access log does (0.3 %).
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

import balancer
from balancer.data.access_log import BATCH
from balancer.data.deadlines import NEVER
from bench import interpreter, needs, record
from bench.micro import BODY, DataPath, Listening, request, response

_FEW, _MANY = BATCH // 2, BATCH * 3 // 2  # requests of the short and of the long run: one batch of log lines apart
_LOOK = 2e-5  # seconds by which the counting clock goes on each time somebody looks at it
_WRITER = 0.5  # seconds in which the log's thread has written a batch, under valgrind on a busy machine
_INSIDE = "BALANCER_COUNTED"
NAMES = ("same", "log", "zipf", "unique", "etag", "new-connections")
_DUMP = re.compile(r"^desc: Trigger:.*?([a-z-]+)=([0-9]+)$", re.MULTILINE)
_TOTAL = re.compile(r"^totals: ([0-9]+)", re.MULTILINE)


class Uncounted(Exception):
    """What ran under valgrind went wrong; the message is the end of what it wrote."""


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
        path.access_log.flush()  # of the lines before
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


def _count_inside(only: list[str]) -> None:
    """Under valgrind: run each case short and long, with a dump of the counts before and after each."""
    _be_the_same()
    loop = uvloop.new_event_loop()
    for name, case in cases(loop, os.devnull).items():
        if only and name not in only:
            continue
        _warm(case, name)
        _control("--instr=on")
        for count in (_FEW, _MANY):
            case.prepare(count)
            _control("--dump=rest")
            case.run()
            if case.path.access_log.enabled:
                time.sleep(_WRITER)
            _control(f"--dump={name}={count}")
        _control("--instr=off")


def _be_the_same() -> None:
    """Take away what differs between two runs: the clock, the dice, and when another thread has its turn."""
    random.seed(1)
    sys.setswitchinterval(1000.0)  # the log's thread works while this one waits
    time.time = itertools.count(1.8e9, _LOOK).__next__
    time.monotonic = itertools.count(1e5, _LOOK).__next__


def _control(action: str) -> None:
    subprocess.run(
        ["callgrind_control", action, str(os.getpid())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def count(only: list[str]) -> dict[str, float]:
    """Return instructions a request by case; raises Uncounted."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BALANCER"))}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                "--instr-atstart=no",  # starting up and warming are not counted, and quicker so
                f"--callgrind-out-file={folder}/out",
                sys.executable,
                "-m",
                "bench.instructions",
                "--only",
                ",".join(only),
            ],
            env={**inherited, _INSIDE: "1", "PYTHONHASHSEED": "1"},
            cwd=needs.HERE.parent,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode != 0:
            raise Uncounted(f"what ran under valgrind ended with {done.returncode}:\n{done.stderr[-2000:]}")
        totals: dict[str, dict[int, int]] = {}
        for dump in Path(folder).glob("out.*"):
            text = dump.read_text(errors="replace")
            title = _DUMP.search(text)
            total = _TOTAL.search(text)
            if title is None or total is None:
                continue
            totals.setdefault(title[1], {})[int(title[2])] = int(total[1])
    order = [name for name in NAMES if name in totals]
    return {name: (totals[name][_MANY] - totals[name][_FEW]) / (_MANY - _FEW) for name in order}


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
    """Return the exit code: 1 when a case needs more than is recorded, and the margin."""
    given = _options()
    if os.environ.get(_INSIDE):
        _count_inside(given.only)
        return 0
    about = interpreter.this().key + ", compiled" * balancer.compiled()
    if given.time:
        print(f"ns of CPU time a request; Python {about}")
        for case, figure in clock(given.only).items():
            print(f"{case:<20}{figure:>10.0f}")
        return 0
    try:
        needs.provide(["valgrind"])
    except needs.Lacking as lacking:
        print(f"skipped: no valgrind ({lacking})" if given.or_skip else lacking, file=sys.stderr)
        return 0 if given.or_skip else 1
    recorded = {} if given.record else record.read(about)
    print(f"instructions a request{', the record, and the difference' if recorded else ''}; Python {about}", flush=True)
    try:
        found = count(given.only)
    except Uncounted as error:
        print(error, file=sys.stderr)
        return 1
    for case, figure in found.items():
        print(record.line(case, figure, recorded))
    if given.record:
        record.write(about, found)
        print(f"recorded in {record.FILE.name}")
        return 0
    return _judge(found, recorded)


def _judge(found: dict[str, float], recorded: dict[str, int]) -> int:
    again = "python -m bench.instructions --record"
    if not recorded:
        print(f"nothing is recorded for this interpreter ({again})")
    elif over := record.over(found, recorded):
        print(f"{', '.join(over)}: more than {record.MARGIN:.0%} over the record (spend less, or {again})")
        return 1
    elif under := record.under(found, recorded):
        print(f"{', '.join(under)}: so far under the record that it guards them no longer ({again})")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", type=_some, default=[], metavar="A,B", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--record", action="store_true", help="what is counted is the record of this interpreter")
    parser.add_argument("--time", action="store_true", help="by the clock, in ns, instead of instructions")
    parser.add_argument("--or-skip", action="store_true", help="exit 0 where valgrind neither is nor can be installed")
    return parser.parse_args()


def _some(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} (choose from {', '.join(NAMES)})")
    return names


if __name__ == "__main__":
    sys.exit(main())
