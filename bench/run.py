"""`make bench`: ours beside nginx, HAProxy, Caddy and a proxy of aiohttp, one core, the same minutes.

for each variant of the configurations: start the proxies -> look at each closely -> for each case: A B C, C B A, …
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import figures
import idle
import load
import machine
import needs
import ours
import page
import proxies
import table
from cases import BASE, CASES, Case, Variant

RESULTS = Path(__file__).resolve().parent / "results"
ENOUGH = 5  # slices of a case that is to be shown
QUICK = ("same", "zipf")
COMPILED = "balancer-compiled"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure, and for how long; `whole`: everything, so that it may stand in the documentation."""

    plans: tuple[proxies.Plan, ...]
    cases: tuple[Case, ...]
    slices: int
    seconds: float
    patience: float
    python: str
    whole: bool


def main() -> int:
    """Return the exit code: 1 when something is lacking or unfit."""
    given = _options()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    try:
        wanted, left_out = _wanted(given)
        cores = machine.cores()
        proxies.refuse_taken_ports(list(wanted.plans))
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            _run(wanted, left_out, cores, Path(folder))
    except (needs.Lacking, machine.NoCores, proxies.Unfit) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _wanted(given: argparse.Namespace) -> tuple[Wanted, dict[str, str]]:
    """Find the programs, install what is lacking, and return what to measure and what is left out."""
    only = given.only
    needed = ["taskset", *(name for name in ("nginx", "haproxy") if not only or name in only or name == "nginx")]
    needs.provide(needed)
    caddy = needs.caddy() if not only or "caddy" in only else None
    left_out = {} if caddy or (only and "caddy" not in only) else {"caddy": "its wheel could not be had"}
    python = str(ours.environment(given.python or ours.best()))
    further = dict(one.split("=", 1) for one in given.ours)
    if "compiled" not in further and (not only or COMPILED in only):
        try:
            further = {"compiled": ours.compiled(Path(python)), **further}
        except needs.Lacking as error:
            left_out[COMPILED] = str(error)
            print(f"{COMPILED} is left out: {error}", file=sys.stderr)
    plans = proxies.all_plans(python, caddy, further)
    known = [plan.key for plan in plans] + list(left_out)
    for name in only or ():
        if name not in known:
            raise needs.Lacking(f"{name!r}: not known here (choose from {', '.join(known)})")
    some = given.cases or (list(QUICK) if given.quick else [case.key for case in CASES])
    slices = given.slices or (3 if given.quick else ENOUGH)
    chosen = tuple(case for case in CASES if case.key in some)
    if by_wrk := [case.key for case in chosen if case.wrk]:
        try:
            needs.provide(["wrk"])
        except needs.Lacking as error:
            if given.cases:
                raise
            left_out |= dict.fromkeys(by_wrk, str(error))
            chosen = tuple(case for case in chosen if not case.wrk)
            print(f"{', '.join(by_wrk)} are left out: {error}", file=sys.stderr)
    whole = not only and len(chosen) == len(CASES) and slices >= ENOUGH and given.seconds >= 1.0
    plans = [plan for plan in plans if not only or plan.key in only]
    return Wanted(tuple(plans), chosen, slices, given.seconds, given.patience, python, whole), left_out


def _run(wanted: Wanted, left_out: dict[str, str], cores: machine.Cores, here: Path) -> None:
    here.chmod(0o755)  # nginx started by root works as another user
    about = machine.describe(wanted.python, proxies.ROOT)
    about["slices"] = f"{wanted.slices} of {wanted.seconds:g} s for each proxy and case, in turn"
    about["cores"] = f"proxies on CPU {cores.proxy}, load and origin on CPU {cores.load}"
    print("\n".join(f"{key:<10}{value}" for key, value in about.items()), flush=True)
    run = figures.Run(about, {plan.key: f"{plan.title} {proxies.version(plan)}" for plan in wanted.plans})
    run.left_out.update(left_out)
    path = RESULTS / f"{about['date'][:19].replace(':', '')}.json"
    generator = load.Generator(needs.compiled("load"), cores, here, machine.Patience(wanted.patience))
    origin = proxies.start_origin(needs.compiled("origin"), cores.load, here)
    began = time.monotonic()
    try:
        for variant in dict.fromkeys(case.variant for case in wanted.cases):
            _measure_variant(wanted, variant, run, generator, here, path)
    finally:
        origin.stop()
    if run.memory:
        print(table.of_memory(run))
    shown = page.write(run, RESULTS, "latest" if wanted.whole else "part")
    print(f"took {time.monotonic() - began:.0f} s; kept in {_near(path)}, shown in {_near(shown)}")


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _measure_variant(
    wanted: Wanted, variant: Variant, run: figures.Run, generator: load.Generator, here: Path, path: Path
) -> None:
    own = [case for case in wanted.cases if case.variant == variant]
    plans = [plan for plan in wanted.plans if any(plan.kind not in case.leave_out for case in own)]
    print(f"\nstarting {', '.join(plan.title for plan in plans)}: {variant.key}\n", flush=True)
    running: list[proxies.Running] = []
    try:
        for plan in plans:
            running.append(proxies.start(plan, variant, generator.cores.proxy, here))
        for program in running:
            proxies.wait_until_fit(program)
        if variant == BASE:
            run.memory = {one.plan.key: idle.measure(one) for one in running}
        for case in own:
            able = [one for one in running if one.plan.kind not in case.leave_out]
            run.cases[case.key] = _measure_case(wanted, case, able, run, generator)
            print(table.of_case(run, case), flush=True)
            run.write(path)
    finally:
        for program in reversed(running):
            program.stop()


def _measure_case(
    wanted: Wanted, case: Case, running: list[proxies.Running], run: figures.Run, generator: load.Generator
) -> dict[str, list[load.Slice]]:
    rate = case.rate * _peak(run, running, generator) if case.rate else 0.0
    if rate:
        run.rates[case.key] = rate
    slices: dict[str, list[load.Slice]] = {one.plan.key: [] for one in running}
    unfit: dict[str, str] = {}
    for number in range(wanted.slices):
        for one in reversed(running) if number % 2 else running:
            own = slices[one.plan.key]
            if one.plan.key in unfit:
                continue
            if own and own[-1].overloaded:
                continue  # it could not carry the rate: nothing to learn from another try
            seconds = wanted.seconds * case.seconds * (1.0 if rate else one.plan.pace)
            try:
                own.append(generator.measure(one, case, seconds, rate))
            except proxies.Unfit as error:
                if one.plan.key == figures.REFERENCE or one.plan.kind == "balancer":
                    raise
                unfit[one.plan.key] = str(error).split("\n", 1)[0]
    for key, why in unfit.items():  # a peer that cannot carry a case ends no run
        del slices[key]
        run.left_out[f"{case.key}, {key}"] = why
    return slices


def _peak(run: figures.Run, running: list[proxies.Running], generator: load.Generator) -> float:
    """Return nginx's requests/s with varied heads in a closed loop, measured now unless it has been."""
    known = run.of("zipf", figures.REFERENCE)
    if not known:
        case = next(case for case in CASES if case.key == "zipf")
        reference = next((one for one in running if one.plan.key == figures.REFERENCE), running[0])
        known = [generator.measure(reference, case, 0.5) for _ in range(3)]
    return median([one.requests_per_second for one in known])


def _options() -> argparse.Namespace:
    names = [case.key for case in CASES]
    parser = argparse.ArgumentParser(
        prog="bench/run.py", description="CPU time per request, requests/s and latency of ours beside other proxies."
    )
    parser.add_argument("--quick", action="store_true", help="same and zipf only, 3 slices")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), metavar="A,B", help="of nginx, haproxy, balancer, …"
    )
    parser.add_argument("--cases", type=_some(names), metavar="A,B", help=f"of {', '.join(names)}")
    parser.add_argument("--slices", type=int, help="slices for each proxy and case (5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a slice (1); the slow get half")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for quiet cores, in all (120)")
    parser.add_argument("--python", default="", help="of which an environment for ours is made (the best at hand)")
    parser.add_argument(
        "--ours", action="append", default=[], metavar="NAME=PYTHON", help="a further one of ours, as installed there"
    )
    return parser.parse_args()


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
