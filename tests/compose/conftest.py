"""One stack for all tests here; where no Docker answers they are skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compose.stack import Stack, docker_lacks


def needs_docker() -> None:
    """Skip with the reason where there is no Docker."""
    if lack := docker_lacks():
        pytest.skip(f"{lack}: the compose file is not tried")


@pytest.fixture(scope="session")
def engine() -> None:
    """Docker answers."""
    needs_docker()


@pytest.fixture(scope="session")
def running(engine: None) -> Iterator[Stack]:
    """The stack, brought up once."""
    stack = Stack()
    try:
        stack.up()
        yield stack
    except AssertionError as fault:
        fault.add_note(f"the balancer's log:\n{stack.log()[-4000:]}")
        raise
    finally:
        stack.down()


@pytest.fixture
def stack(running: Stack) -> Iterator[Stack]:
    """The stack, whole before the test and whole after it."""
    running.wait_whole()
    yield running
    running.wait_ready()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Attach the end of the balancer's log to a failed test."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and call.when == "call" and isinstance(stack, Stack):
        report.sections.append(("balancer's log", stack.log()[-6000:]))
