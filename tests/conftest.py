"""What holds for every test: a balancer that is still running at its end has kept nothing and has logged no error.

Where SKIP_NOTHING is set, as in `.ci/run`, a test that would be skipped fails with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.balancer import Balancer


@pytest.fixture(autouse=True)
def balancers_stay_clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """Note what each running balancer holds, and check it after the test."""
    for balancer in list(Balancer.live):
        balancer.mark()
    yield
    for balancer in list(Balancer.live):
        if balancer.running:
            balancer.check_clean()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Let no test be skipped where none may be; attach the logs of the running balancers to a failed test."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SKIP_NOTHING", "0") not in ("", "0"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"SKIP_NOTHING is set: {why}"
    if report.failed:
        for balancer in list(Balancer.live):
            report.sections.append(("balancer", balancer.log_text()[-4000:]))
