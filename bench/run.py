"""`make bench`: ours beside nginx and HAProxy, one worker and one core each, in the same minutes on the same machine.

start origin and proxies -> look at each closely -> memory -> for each case: warm up, then A B C, C B A, A B C, …
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import idle
import load
import machine
import needs
import proxies
import table

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure, and for how long."""

    plans: tuple[proxies.Plan, ...]
    cases: tuple[load.Case, ...]
    slices: int
    seconds: int
    patience: float


def main() -> int:
    """Return the exit code: 1 when something is lacking or unfit."""
    wanted = _options()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    try:
        needs.provide(["taskset", "wrk", "nginx", *(plan.key for plan in wanted.plans if plan.key == "haproxy")])
        cores = machine.cores()
        proxies.refuse_taken_ports([proxies.ORIGIN, *wanted.plans])
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            _run(wanted, cores, Path(folder))
    except (needs.Lacking, machine.NoCores, proxies.Unfit) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(wanted: Wanted, cores: machine.Cores, here: Path) -> None:
    here.chmod(0o755)  # nginx started by root works as another user
    (here / "1MiB").write_bytes(bytes(proxies.LARGE))
    running: list[proxies.Running] = []
    try:
        for plan in (proxies.ORIGIN, *wanted.plans):
            running.append(proxies.start(plan, cores.load if plan is proxies.ORIGIN else cores.proxy, here))
        for program in running:
            proxies.wait_until_fit(program)
        _measure(wanted, running[1:], cores)
    finally:
        for program in reversed(running):
            program.stop()


def _measure(wanted: Wanted, running: list[proxies.Running], cores: machine.Cores) -> None:
    about = {**machine.describe(), "date": datetime.now().astimezone().isoformat(timespec="seconds")}
    print(f"{about['cpu']}, Linux {about['kernel']}, Python {about['python']} ({sys.executable})")
    print(f"proxies on CPU {cores.proxy}, load and origin on CPU {cores.load}; ", end="")
    print(f"{wanted.slices} slices of {wanted.seconds} s in turn, medians\n", flush=True)
    run = table.Run(about, running, {one.plan.key: idle.measure(one) for one in running})
    path = RESULTS / f"{about['date'][:19].replace(':', '')}.json"
    patience = machine.Patience(wanted.patience)
    for case in wanted.cases:
        slices: dict[str, list[load.Slice]] = {one.plan.key: [] for one in running}
        for one in running:
            load.warm_up(one, case, cores.load)
        for number in range(wanted.slices):
            for one in reversed(running) if number % 2 else running:
                load.warm_up(one, case, cores.load)
                slices[one.plan.key].append(load.measure(one, case, cores, wanted.seconds, patience))
        run.cases[case.key] = slices
        print(run.case_table(case), flush=True)
        run.write(path)
    print(run.memory_table())
    run.write(path)
    print(f"kept in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _options() -> Wanted:
    names, cases = [plan.key for plan in proxies.PROXIES], [case.key for case in load.CASES]
    parser = argparse.ArgumentParser(
        prog="bench/run.py", description="Requests/s and CPU µs per request of ours beside nginx and HAProxy."
    )
    parser.add_argument("--quick", action="store_true", help="same and zipf only, 3 slices of 1 s")
    parser.add_argument("--only", type=_some(names), metavar="A,B", help=f"of {', '.join(names)}")
    parser.add_argument("--cases", type=_some(cases), metavar="A,B", help=f"of {', '.join(cases)}")
    parser.add_argument("--slices", type=int, help="slices for each proxy and case (5)")
    parser.add_argument("--seconds", type=int, help="length of a slice (2)")
    parser.add_argument("--patience", type=float, default=180.0, help="seconds to wait for quiet cores, in all (180)")
    given = parser.parse_args()
    only = given.only or names
    some = given.cases or (["same", "zipf"] if given.quick else cases)
    return Wanted(
        plans=tuple(plan for plan in proxies.PROXIES if plan.key in only),
        cases=tuple(case for case in load.CASES if case.key in some),
        slices=max(1, given.slices or (3 if given.quick else 5)),
        seconds=max(1, given.seconds or (1 if given.quick else 2)),
        patience=given.patience,
    )


def _some(known: list[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} (choose from {', '.join(known)})")
        return names

    return read


if __name__ == "__main__":
    os.environ.pop("BALANCER_ADMIN", None)
    sys.exit(main())
