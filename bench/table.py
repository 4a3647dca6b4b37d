"""The figures of a run: as tables to read, and as JSON to keep.

A ratio is taken within a round, in which each proxy had its slice a few seconds from the others', and the median of the
rounds is shown: what the machine does to all of them falls out.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from idle import Memory
from load import Case, Slice
from proxies import Running

REFERENCE = "nginx"
BUSY = 0.95  # below, requests/s says more about the load generator
WAITED = 0.05  # above, somebody else was on the proxy's core

_HEAD = f"{'':<25}{'req/s':>8}{'µs/req':>9}{'min':>8}{'spread':>9}{'ratio':>8}{'range':>12}{'busy':>8}"


@dataclass(slots=True)
class Run:
    """Everything that was measured; `cases` by case and proxy, in the order of the rounds."""

    about: dict[str, str]
    programs: list[Running]
    memory: dict[str, Memory]
    cases: dict[str, dict[str, list[Slice]]] = field(default_factory=dict)

    def case_table(self, case: Case) -> str:
        """Return the lines of one case: for each proxy its worker, and below, where there is more, everything."""
        lines = [f"{case.key}: {case.title}; {case.connections} connections", _HEAD]
        all_slices = self.cases[case.key]
        base = [one.worker for one in all_slices.get(REFERENCE, [])]
        for program in self.programs:
            slices = all_slices[program.plan.key]
            worker, everything = [one.worker for one in slices], [one.everything for one in slices]
            lines.append(_line(self._title(program), slices, worker, base))
            if program.plan.worker.startswith("balancer"):
                lines.append(_line("  and supervisor, control", slices, everything, base))
        every = [one for slices in all_slices.values() for one in slices]
        if any(map(_disturbed, every)):
            lines.append("!  some slices were disturbed: somebody else was on the cores")
        if any(_busy(slices) < BUSY for slices in all_slices.values()):
            lines.append("*  the core was not full: req/s is the load generator's, µs/req the proxy's")
        return "\n".join([*lines, ""])

    def memory_table(self) -> str:
        """Return the lines about memory."""
        lines = ["memory, before any load", f"{'':<25}{'worker':>12}{'everything':>14}{'idle connection':>18}"]
        for program in self.programs:
            own = self.memory[program.plan.key]
            worker, everything = f"{own.worker / 1024**2:.1f} MiB", f"{own.everything / 1024**2:.1f} MiB"
            connection = f"{own.per_connection / 1024:.1f} KiB"
            lines.append(f"{self._title(program):<25}{worker:>12}{everything:>14}{connection:>18}")
        return "\n".join([*lines, ""])

    def _title(self, program: Running) -> str:
        return f"{program.plan.title} {program.version}"

    def write(self, path: Path) -> None:
        """Keep everything at `path`."""
        kept = {
            "about": self.about,
            "versions": {program.plan.key: program.version for program in self.programs},
            "cases": {
                case: {key: [asdict(one) for one in slices] for key, slices in own.items()}
                for case, own in self.cases.items()
            },
            "memory": {key: asdict(one) for key, one in self.memory.items()},
        }
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept, indent=1) + "\n")


def _line(title: str, slices: list[Slice], times: list[float], base: list[float]) -> str:
    """Return a proxy's line; `times` in µs per request, `base` those of the reference in the same rounds."""
    middle, busy = median(times), _busy(slices)
    spread = (max(times) - min(times)) / middle
    ratios = [time / reference for time, reference in zip(times, base)]
    ratio = f"{median(ratios):>8.2f}{f'{min(ratios):.2f}–{max(ratios):.2f}':>12}" if ratios else " " * 20
    rate = median([one.requests_per_second for one in slices])
    marks = ("!" if any(map(_disturbed, slices)) else "") + ("*" if busy < BUSY else "")
    return f"{title:<25}{rate:>8.0f}{middle:>9.1f}{min(times):>8.1f}{spread:>9.1%}{ratio}{busy:>8.2f} {marks}".rstrip()


def _busy(slices: list[Slice]) -> float:
    return median([one.busy for one in slices])


def _disturbed(one: Slice) -> bool:
    return one.disturbed or one.waited > WAITED
