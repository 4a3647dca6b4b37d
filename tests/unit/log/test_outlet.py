"""Nobody waits for a reader of the log who has stopped, and what was lost is told."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from balancer.log.outlet import Outlet, Stream
from tests.support.waiting import wait_for


class Pipe:
    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, 4096)
        self.text = ""

    def drain(self, until: str) -> list[str]:
        while until not in self.text:
            self.text += os.read(self.read, 65_536).decode()
        return self.text.splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    for descriptor in (made.read, made.write):
        os.close(descriptor)


def test_a_reader_that_stopped_stops_nobody_and_is_told_what_it_missed(pipe: Pipe) -> None:
    outlet = Outlet(pipe.write, most=20_000)

    def much() -> None:
        for number in range(500):
            outlet.put(f"{number:03d} {'x' * 95}\n")

    talk = threading.Thread(target=much, daemon=True)
    talk.start()
    talk.join(5)
    assert not talk.is_alive()
    lines = pipe.drain("dropped")
    wait_for(lambda: not outlet._pending, 5, "all is written")
    outlet.put("later\n")
    lines = pipe.drain("later\n")
    numbers = [int(one[:3]) for one in lines[:-2]]
    assert numbers == list(range(len(numbers))), "what was written came in order, up to the gap"
    told = re.search(r" WARNING log lines were dropped: nobody read them count=(\d+)$", lines[-2])
    assert told is not None
    assert len(numbers) + int(told[1]) == 500


def test_what_is_cut_by_its_limit_is_told_in_a_line(pipe: Pipe) -> None:
    outlet = Outlet(pipe.write)
    for number in range(30):
        if outlet.admits("bad peer"):
            outlet.put(f"bad peer {number}\n")
    lines = pipe.drain("suppressed")
    assert len([one for one in lines if one.startswith("bad peer")]) == 10
    assert lines[-1].endswith(' WARNING suppressed 20 more lines like it kind="bad peer"')


def test_a_reader_that_is_gone_stops_nobody() -> None:
    read, write = os.pipe()
    os.close(read)
    outlet = Outlet(write)
    outlet.put("nobody hears this\n")
    outlet.flush()
    assert not outlet._pending
    os.close(write)


def test_what_is_printed_comes_in_whole_lines(pipe: Pipe) -> None:
    stream = Stream(Outlet(pipe.write))
    print("one", "two", file=stream)
    print("thr", end="", file=stream)
    print("ee\nfo", end="", file=stream)
    print("ur", file=stream, flush=True)
    assert pipe.drain("four\n") == ["one two", "three", "four"]


def test_the_last_lines_of_a_process_are_written_at_its_end() -> None:
    program = "from balancer.log.outlet import PROGRAM\nfor n in range(2000): PROGRAM.put(f'{n}\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stderr.splitlines() == [str(number) for number in range(2000)]


def test_a_process_ends_although_nobody_reads(pipe: Pipe) -> None:
    program = "from balancer.log.outlet import PROGRAM\nfor n in range(2000): PROGRAM.put(f'{n}' * 10 + '\\n')"
    with subprocess.Popen([sys.executable, "-c", program], stderr=pipe.write) as process:
        assert process.wait(10) == 0
