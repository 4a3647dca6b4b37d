"""One stack for all tests here; where no Docker answers they are skipped, or fail if REQUIRE_DOCKER is set."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.compose.stack import Stack, docker_lacks


def needs_docker() -> None:
    """Skip with the reason where there is no Docker; fail there if REQUIRE_DOCKER says that there must be one."""
    lack = docker_lacks()
    if lack and os.environ.get("REQUIRE_DOCKER", "0") not in ("", "0"):
        pytest.fail(f"REQUIRE_DOCKER is set, but {lack}", pytrace=False)
    if lack:
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
