"""What holds after a chaos run: every failure explained; nothing wrong, crossed, doubled, or cut yet called whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tests.support.balancer import Balancer
from tests.support.http1 import Head
from tests.support.metrics import Metrics
from tests.support.report import Report, Sample
from tests.support.targets import Cheap

_REASON = re.compile(r'details="([a-z_0-9]+)"')
LOST = (
    "closed before the answer",
    "reset before the answer",
    "idle connection closed before the answer",
    "idle connection reset before the answer",
)
Windows = Sequence[tuple[float, float]]


def whole_or_not(head: Head, body: bytes) -> str:
    """Tag an answer: `whole`, or `SHORT` for a stream without its end or with lines of somebody else."""
    mark = head.get("x-echo-id")
    if not head.all("transfer-encoding") or mark is None:
        return "whole"
    lines = body.splitlines()
    right = [mark + b" %d" % number for number in range(7)] + [mark + b" end"]
    return "whole" if lines == right else "SHORT"


def reason_of(sample: Sample) -> str:
    """Return the reason word that the client was told."""
    found = _REASON.search(sample.reason)
    return found[1] if found else ""


def during(sample: Sample, windows: Windows) -> bool:
    """Return whether a request was under way while one of these things happened."""
    return any(sample.due - 0.2 <= end and sample.done + 0.2 >= start for start, end in windows)


class Verdict:
    """Judges a run; `wrong` holds a line for each thing that must not be."""

    def __init__(self, report: Report, log: list[dict[str, Any]], before: Metrics, after: Metrics) -> None:
        self.report, self.before, self.after = report, before, after
        self.wrong: list[str] = []
        self.events: list[str] = []  # what was done, in order
        self.by_id: dict[str, list[dict[str, Any]]] = {}
        for line in log:
            self.by_id.setdefault(line["request_id"], []).append(line)
        self.failures = report.failures
        self.lost = [one for one in report.samples if one.cause in LOST]
        self.reasons = Counter(reason_of(one) for one in report.samples if reason_of(one))

    def grown(self, name: str, **labels: str) -> int:
        """Return by how much a counter has grown."""
        return round(self.after.sum(name, **labels) - self.before.sum(name, **labels))

    def expect(self, holds: bool, words: str) -> None:
        if not holds:
            self.wrong.append(words)

    # -- one thing each

    def every_failure_has_a_reason(self, worker_faults: Windows) -> None:
        """A status of ours names its reason; a cut answer has it in the log; only a lost worker may say nothing."""
        cuts = 0
        for one in self.failures:
            if one.cause in LOST or (one.cause and not one.request_id):
                told = f"#{one.index} {one.method} {one.due:.2f}-{one.done:.2f} s: {one.cause}"
                self.expect(during(one, worker_faults), f"no word, and no worker was lost: {told}")
                self.expect(one.cause in LOST, f"not an end of a connection: {told}")
            elif one.cause:
                cuts += 1
                lines = self.by_id.get(one.request_id, [])
                told = f"#{one.index} {one.request_id} {one.due:.2f}-{one.done:.2f} s: {one.cause}: {lines}"
                explained = any(line["reason"] for line in lines) or during(one, worker_faults)
                self.expect(explained, f"cut, and no reason in the log: {told}")
                self.expect("inside the answer" in one.cause, f"not a cut: {told}")
            else:
                told = f"#{one.index} {one.request_id} status {one.status}"
                self.expect(bool(reason_of(one)), f"a failure without a reason: {told} {one.reason}")

    def nothing_is_wrong_crossed_or_cut_and_called_whole(self) -> None:
        """Every whole answer is that of its request, all of it; nobody gets two."""
        self.expect(self.report.duplicates == 0, f"{self.report.duplicates} answers that nobody asked for")
        self.expect(self.report.mismatched == 0, f"{self.report.mismatched} answers that belong to another request")
        for one in self.report.samples:
            short = one.tag == "SHORT" and not one.cause
            self.expect(not short, f"cut and called whole: #{one.index} {one.request_id}")
            invalid = one.cause.startswith(("invalid", "unmarked"))
            self.expect(not invalid, f"#{one.index} {one.request_id}: {one.cause}")

    def nothing_is_doubled(self, targets: Sequence[Cheap], marks: Callable[[int], str]) -> None:
        """A POST is executed at most once, and once if its answer was good."""
        taken = Counter(mark for one in targets for mark in one.marks())
        doubled = [mark for mark, times in taken.items() if times > 1]
        self.expect(not doubled, f"executed more than once: {doubled[:10]}")
        missing = [
            one.index
            for one in self.report.samples
            if one.method == "POST" and not one.failed and taken[marks(one.index)] != 1
        ]
        self.expect(not missing, f"answered well and not executed: {missing[:10]}")

    def log_and_client_agree(self, worker_faults: Windows) -> None:
        """One line for each answer, of the same status and reason; only a lost worker may take lines along."""
        for one in self.report.samples:
            if not one.request_id:
                continue
            lines = self.by_id.get(one.request_id, [])
            told = f"#{one.index} {one.request_id} {one.status} {one.cause}: {lines}"
            self.expect(len(lines) == 1 or (not lines and during(one, worker_faults)), f"lines in the log: {told}")
            for line in lines:
                self.expect(line["status"] == one.status, f"another status in the log: {told}")
                if not one.cause and not during(one, worker_faults):
                    self.expect(line["reason"] == reason_of(one), f"another reason in the log: {told}")

    def metrics_and_client_agree(self) -> None:
        """Every request is counted once; what nobody got an answer to may be counted or not, nothing else."""
        answered = sum(1 for one in self.report.samples if one.request_id)
        unanswered = len(self.report.samples) - answered
        counted, lost = self.grown("requests_total"), self.grown("failures_total", reason="worker_lost")
        self.expect(
            answered <= counted + lost <= len(self.report.samples),
            f"{counted} counted and {lost} lost with workers, {answered} answered, {unanswered} without an answer",
        )
        for reason, seen in self.reasons.items():
            counted = self.grown("failures_total", reason=reason)
            self.expect(seen <= counted <= seen + unanswered, f"{reason}: {counted} counted, {seen} seen")
        self.expect(self.grown("failures_total", reason="internal_error") == 0, "internal_error")
        self.expect(self.grown("access_log_dropped_total") == 0, "lines of the access log were dropped")

    def lost_with_workers_is_counted(self, workers_lost: int) -> None:
        """What was inside a worker that died is counted as worker_lost, and hardly more."""
        counted = self.grown("failures_total", reason="worker_lost")
        cut = sum(1 for one in self.failures if one.cause and reason_of(one) == "")
        self.expect(counted <= cut + workers_lost, f"{counted} counted as worker_lost, {cut} cut")
        self.expect(self.grown("worker_restarts_total") <= workers_lost, "more restarts than lost workers")

    def explained(self, balancer: Balancer, worker_faults: Windows, most: int = 1000) -> int:
        """Every failure with an id is explained by the admin API, with the same reason; return how many were asked.

        What was inside a worker that was killed has left no story: it is counted as worker_lost.
        """
        failures = [one for one in self.failures if one.request_id][-most:]
        for one in failures:
            status, body = balancer.get(f"/api/v1/requests/{one.request_id}")
            inside = bool(one.cause) and during(one, worker_faults)
            self.expect(status == 200 or inside, f"not explained: {one.request_id} {one.status} {one.cause}: {status}")
            if status == 200 and reason_of(one):
                self.expect(reason_of(one) in body.decode(), f"explained otherwise: {reason_of(one)}, {body[:300]!r}")
        return len(failures)
