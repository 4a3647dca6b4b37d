"""The figures of a run as tables to read in a terminal."""

from __future__ import annotations

from statistics import median

import figures
from cases import Case
from figures import BUSY, Ratio, Run
from load import Slice

_HEAD = (
    f"{'':<25}{'req/s':>8}{'µs/req':>9}{'min':>9}{'spread':>9}{'worker':>9}"
    f"{'ratio':>8}{'range':>12}{'busy':>7}{'RSS':>9}"
)


def of_case(run: Run, case: Case) -> str:
    """Return the lines of one case."""
    return (_latency if case.rate else _closed)(run, case)


def _closed(run: Run, case: Case) -> str:
    lines = [f"{case.key}: {case.title}; {case.connections} connections", _HEAD]
    every: list[Slice] = []
    for key, title in run.titles.items():
        slices = run.of(case.key, key)
        every += slices
        if not slices:
            lines.append(f"{title:<25}  {run.left_out.get(f'{case.key}, {key}', run.left_out.get(key, '–'))}")
            continue
        line = _line(title, slices, run.cpu(case.key, key))
        if case.beside and (own := run.beside(case.key, case.beside, key)) is not None:
            line += f"   {own.middle:.2f} x its own {case.beside}"
        if case.variant.workers > 1 and key != "caddy":  # whose threads are no workers
            line += f"   the busier took {median([one.busiest for one in slices]):.0%}"
        lines.append(line)
    if any(map(figures.disturbed, every)):
        lines.append("!  some slices were disturbed: somebody else was on the cores")
    if any(one.busy < BUSY for one in every):
        lines.append("*  the core was not full: req/s is the load generator's, µs/req the proxy's")
    return "\n".join([*lines, ""])


def _line(title: str, slices: list[Slice], ratio: Ratio | None) -> str:
    times = [one.everything for one in slices]
    rate, worker = median([one.requests_per_second for one in slices]), median([one.worker for one in slices])
    share, busy = f"{figures.spread(times):.1%}", figures.busy(slices)
    shown = f"{ratio.middle:>8.2f}{f'{ratio.least:.2f}–{ratio.most:.2f}':>12}" if ratio else " " * 20
    marks = ("!" if any(map(figures.disturbed, slices)) else "") + ("*" if busy < BUSY else "")
    rss = f"{median([one.rss for one in slices]) / 1024**2:.1f} M"
    return (
        f"{title:<25}{rate:>8.0f}{median(times):>9.1f}{min(times):>9.1f}{share:>9}{worker:>9.1f}{shown}{busy:>7.2f}"
        f"{rss:>9} {marks}"
    ).rstrip()


def _latency(run: Run, case: Case) -> str:
    head = f"{'':<25}{'p50 µs':>9}{'p99':>9}{'p99.9':>9}{'most':>9}{'µs/req':>9}{'generator late p50/p99':>25}"
    lines = [f"{case.key}: {case.title}; {run.rates.get(case.key, 0):.0f} requests/s", head]
    for key, title in run.titles.items():
        slices = run.of(case.key, key)
        seen = figures.latency(slices)
        if seen is None:
            why = "could not carry this rate" if slices else run.left_out.get(f"{case.key}, {key}", "–")
            lines.append(f"{title:<25}  {run.left_out.get(key, why)}")
            continue
        late = f"{median([one.late[0] for one in slices]):.0f}/{median([one.late[1] for one in slices]):.0f}"
        cpu = median([one.everything for one in slices])
        marks = " !" if any(map(figures.disturbed, slices)) else ""
        lines.append(f"{title:<25}" + "".join(f"{one:>9.0f}" for one in seen) + f"{cpu:>9.1f}{late:>25}{marks}")
    return "\n".join([*lines, ""])


def of_memory(run: Run) -> str:
    """Return the lines about memory."""
    lines = ["memory, before any load", f"{'':<25}{'worker':>12}{'everything':>14}{'idle connection':>18}"]
    for key, own in run.memory.items():
        worker, everything = f"{own.worker / 1024**2:.1f} MiB", f"{own.everything / 1024**2:.1f} MiB"
        lines.append(f"{run.titles[key]:<25}{worker:>12}{everything:>14}{own.per_connection / 1024:>14.1f} KiB")
    return "\n".join([*lines, ""])
