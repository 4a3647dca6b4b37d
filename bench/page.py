"""A run as a page of the documentation: tables in Markdown, and two drawings beside it."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import chart
import figures
from cases import CASES, Case
from figures import REFERENCE, Ratio, Run

_FACTS = {
    "date": "when",
    "cpu": "machine",
    "memory": "memory",
    "system": "system",
    "python": "Python of ours",
    "compiled": "ours is",
    "commit": "commit",
    "slices": "slices",
    "cores": "cores",
}


def write(run: Run, folder: Path, name: str) -> Path:
    """Write `NAME.md` with its drawings into `folder`; return the page."""
    closed = [case for case in CASES if case.key in run.cases and not case.rate]
    others = [key for key in run.titles if key != REFERENCE]
    drawings = {
        f"{name}-cpu.svg": (
            "CPU time per request, against nginx (less is better)",
            [(case.key, [run.cpu(case.key, key) for key in others]) for case in closed],
        ),
        f"{name}-latency.svg": (
            "Latency at a fixed rate, against nginx (less is better)",
            [
                (f"{case.key} {word}", [_latency_ratio(run, case, key, n) for key in others])
                for case in CASES
                if case.rate and case.key in run.cases
                for n, word in enumerate(("p50", "p99", "p99.9"))
            ],
        ),
    }
    folder.mkdir(exist_ok=True)
    lines = [
        "# Side by side",
        "",
        "Written by `make bench`; what the columns mean is in [bench/README.md](../README.md).",
    ]
    lines += ["", "| | |", "|---|---|"]
    lines += [f"| {word} | {run.about[key]} |" for key, word in _FACTS.items() if key in run.about]
    lines += [f"| {key} | {title} |" for key, title in run.titles.items()]
    lines += [f"| left out: {key} | {why} |" for key, why in run.left_out.items() if ", " not in key]
    for file, (title, rows) in drawings.items():
        if rows:
            names = [run.titles[key] for key in others]
            (folder / file).write_text(chart.draw(title, names, rows))
            lines += ["", f"![{title}]({file})"]
    lines += _cpu(run, closed) + _rate(run, closed) + _beside(run, closed) + _latency(run) + _memory(run)
    page = folder / f"{name}.md"
    page.write_text("\n".join(lines) + "\n")
    return page


def _heading(run: Run, title: str, said: str, keys: list[str]) -> list[str]:
    head = "| | " + " | ".join(run.titles[key] for key in keys) + " |"
    return ["", f"## {title}", "", said, "", head, "|---" * (len(keys) + 1) + "|"]


def _row(label: str, cells: list[str]) -> str:
    return f"| {label} | " + " | ".join(cells) + " |"


def _cpu(run: Run, closed: list[Case]) -> list[str]:
    keys = list(run.titles)
    said = "µs of all its processes, median; behind it the ratio to nginx in the same round, median (least–most)."
    lines = _heading(run, "CPU time per request", said, keys)
    for case in closed:
        cells = []
        for key in keys:
            slices = run.of(case.key, key)
            ratio = run.cpu(case.key, key)
            shown = f"{median([one.everything for one in slices]):.1f}" if slices else "–"
            cells.append(f"{shown} · **{ratio.middle:.2f}** ({ratio.least:.2f}–{ratio.most:.2f})"
                         if ratio and key != REFERENCE else shown)  # fmt: skip
        lines.append(_row(case.title, cells))
    return lines


def _rate(run: Run, closed: list[Case]) -> list[str]:
    keys = list(run.titles)
    said = "Median; * where the proxy's core was not full, so that it is the load's and the origin's speed."
    lines = _heading(run, "Requests per second", said, keys)
    for case in closed:
        cells = []
        for key in keys:
            slices = run.of(case.key, key)
            if not slices:
                cells.append("–")
                continue
            mark = "\\*" if figures.busy(slices) < figures.BUSY else ""
            cells.append(f"{median([one.requests_per_second for one in slices]):,.0f}{mark}".replace(",", " "))
        lines.append(_row(case.title, cells))
    return lines


def _beside(run: Run, closed: list[Case]) -> list[str]:
    rows = [case for case in closed if case.beside and case.beside in run.cases]
    if not rows:
        return []
    keys = list(run.titles)
    said = (
        "Times the same proxy's CPU time per request in the case named; with two workers also the busier one's share."
    )
    lines = _heading(run, "What more costs", said, keys)
    for case in rows:
        cells = []
        for key in keys:
            own = run.beside(case.key, case.beside, key)
            shown = str(own) if own else "–"
            if own and case.variant.workers > 1 and key != "caddy":
                shown += f", {median([one.busiest for one in run.of(case.key, key)]):.0%}"
            cells.append(shown)
        lines.append(_row(f"{case.title} / {case.beside}", cells))
    return lines


def _latency(run: Run) -> list[str]:
    cases = [case for case in CASES if case.rate and case.key in run.cases]
    if not cases:
        return []
    keys = list(run.titles)
    said = (
        "µs at 50, 99 and 99.9 %, from the moment a request was due; the last column is how late the generator was "
        "(99 %, median over all)."
    )
    head = "| | " + " | ".join(run.titles[key] for key in keys) + " | generator |"
    lines = ["", "## Latency at a fixed rate", "", said, "", head, "|---" * (len(keys) + 2) + "|"]
    for case in cases:
        cells = []
        for key in keys:
            seen = figures.latency(run.of(case.key, key))
            cells.append("cannot carry it" if seen is None else " / ".join(f"{one:.0f}" for one in seen[:3]))
        late = [one.late[1] for own in run.cases[case.key].values() for one in own if one.late and not one.overloaded]
        lines.append(
            _row(f"{case.title}: {run.rates.get(case.key, 0):.0f}/s",
                 [*cells, f"{median(late):.0f}" if late else "–"])
        )  # fmt: skip
    return lines


def _latency_ratio(run: Run, case: Case, key: str, percentile: int) -> Ratio | None:
    own, base = run.of(case.key, key), run.of(case.key, REFERENCE)
    if figures.latency(own) is None or figures.latency(base) is None:
        return None
    ratios = sorted(one.latency[percentile] / other.latency[percentile] for one, other in zip(own, base))
    return Ratio(median(ratios), ratios[0], ratios[-1]) if ratios else None


def _memory(run: Run) -> list[str]:
    if not run.memory:
        return []
    lines = ["", "## Memory", "", "Before any load; of all processes, what they share counted once.", ""]
    lines += [
        "| | worker, MiB | all processes, MiB | an idle keep-alive client, KiB | worker after `same`, MiB |",
        "|---" * 5 + "|",
    ]
    for key, own in run.memory.items():
        after = [one.rss for one in run.of("same", key)]
        cells = [f"{own.worker / 1024**2:.1f}", f"{own.everything / 1024**2:.1f}", f"{own.per_connection / 1024:.1f}"]
        lines.append(_row(run.titles[key], [*cells, f"{median(after) / 1024**2:.1f}" if after else "–"]))
    return lines
