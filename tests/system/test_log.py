"""The program's own log goes to a pipe that nobody reads: nothing waits for that, and what was lost is told later."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import configs
from tests.support.balancer import Balancer
from tests.support.raw import RawClient, request
from tests.support.recorder import Recorder, respond
from tests.support.waiting import wait_for

WITH_STDERR_AT = ["sh", "-c", 'exec "$@" 2>"$0"']


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe that is full already, and its reader's descriptor."""
    path = tmp_path / "stderr"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(reader, b"-" * 4095 + b"\n")
    yield path, reader
    os.close(reader)


def drain(reader: int) -> str:
    text = b""
    while True:
        try:
            text += os.read(reader, 65_536)
        except BlockingIOError:
            return text.decode().lstrip("-\n")


def test_a_full_stderr_stops_neither_workers_nor_control_nor_the_end(full: tuple[Path, int]) -> None:
    path, reader = full
    with (
        Recorder(answer=lambda _seen: respond(200, b"fine") + b"X") as target,  # one byte too many: a warning each
        Balancer(configs.simple(target.address), workers=2, before=[*WITH_STDERR_AT, str(path)]) as balancer,
    ):
        before, address, good = balancer.worker_pids(), balancer.address(), balancer.config
        for _ in range(60):
            with RawClient(address) as client:
                assert client.ask(request()).status == 200
        for _ in range(5):
            balancer.reload("listeners: [", applied=False)
        balancer.reload(good)
        assert balancer.worker_pids() == before
        balancer.kill(before[0], signal.SIGKILL)
        wait_for(lambda: not {0, before[0]} & {*balancer.worker_pids()}, 5, "the worker is replaced")
        with RawClient(address) as client:
            assert client.ask(request()).status == 200
        balancer.stop(within=15)
    text = drain(reader)
    assert text == ""


def test_a_reader_that_is_back_hears_what_happened_meanwhile(full: tuple[Path, int]) -> None:
    path, reader = full
    with (
        Recorder(answer=lambda _seen: respond(200, b"fine") + b"X") as target,
        Balancer(configs.simple(target.address), before=[*WITH_STDERR_AT, str(path)]) as balancer,
    ):
        address = balancer.address()
        for _ in range(40):
            with RawClient(address) as client:
                assert client.ask(request()).status == 200
        heard: list[str] = []

        def told() -> bool:
            heard.append(drain(reader))
            return "more lines like it" in "".join(heard)

        wait_for(told, 5, "the flood is told as a number")
        lines = "".join(heard).splitlines()
        assert any("INFO listening on " in one for one in lines), "what was said first is heard first"
        assert 10 <= sum("unsolicited response group=up" in one for one in lines) < 40
