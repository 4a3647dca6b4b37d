"""When targets are probed, and what a probe makes of what it meets."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from balancer.control.facts import Key, Probe
from balancer.control.probes import tcp
from balancer.control.probes.http import HttpProbe
from balancer.control.probes.job import Job, LocalTrouble, Seen, failed, job_of
from balancer.control.probes.prober import Prober
from balancer.control.probes.schedule import Schedule
from balancer.model.names import CheckType, ProbeResult
from balancer.model.snapshot import HealthCheck
from tests.support.faults import blackhole, refusing
from tests.support.waiting import wait_for_async
from tests.unit.control.scene import Clock, group, target


def drain(schedule: Schedule[str], start: float, end: float, step: float = 0.01) -> dict[str, float]:
    """Return when each job became due between two times."""
    seen: dict[str, float] = {}
    now = start
    while now <= end:
        seen.update(dict.fromkeys(schedule.take(now), now))
        now += step
    return seen


def test_a_few_are_first_checked_all_at_once_and_many_within_a_second() -> None:
    few, many = Schedule[str](), Schedule[str]()
    few.begin([f"j{n}" for n in range(64)], 10.0)
    assert len(few.take(10.0)) == 64
    many.begin([f"j{n}" for n in range(200)], 10.0)
    due = drain(many, 10.0, 11.0)
    assert len(due) == 200
    assert max(sum(1 for at in due.values() if low <= at < low + 0.1) for low in (10.0, 10.3, 10.6)) <= 25


def test_those_that_began_together_are_spread_over_the_interval_later() -> None:
    schedule = Schedule[str]()
    jobs = [f"j{n}" for n in range(40)]
    for job in jobs:
        schedule.again(job, 0.0, 5.0, regular=True)
    first = drain(schedule, 0.0, 5.0)
    assert len(first) == 40
    assert max(first.values()) - min(first.values()) > 3.0
    for job in jobs:
        schedule.again(job, 10.0, 5.0, regular=True)
    assert schedule.take(14.9) == []
    assert len(schedule.take(15.0)) == 40


def test_what_is_forgotten_or_put_in_again_is_not_due_twice() -> None:
    schedule = Schedule[str]()
    schedule.begin(["a", "b"], 0.0)
    schedule.again("a", 0.0, 3.0, regular=False)
    schedule.forget("b")
    assert schedule.take(1.0) == []
    assert schedule.next_at() == 3.0
    assert schedule.take(3.0) == ["a"]
    assert schedule.next_at() is None


WORDS = [
    (ConnectionRefusedError(errno.ECONNREFUSED, ""), ProbeResult.REFUSED),
    (OSError(errno.EHOSTUNREACH, ""), ProbeResult.UNREACHABLE),
    (OSError(errno.ENETUNREACH, ""), ProbeResult.UNREACHABLE),
    (TimeoutError(), ProbeResult.TIMEOUT),
    (OSError(errno.ETIMEDOUT, ""), ProbeResult.TIMEOUT),
    (ConnectionResetError(errno.ECONNRESET, ""), ProbeResult.BAD_PROTOCOL),
    (ValueError("odd"), ProbeResult.BAD_PROTOCOL),
]


@pytest.mark.parametrize(("error", "word"), WORDS, ids=[repr(row[0]) for row in WORDS])
def test_an_error_has_one_word(error: Exception, word: ProbeResult) -> None:
    assert failed(error).result is word


def test_a_want_of_our_own_says_nothing_about_a_target() -> None:
    with pytest.raises(LocalTrouble):
        failed(OSError(errno.EMFILE, ""))


def job(port: int, **check: object) -> Job:
    made = HealthCheck(type=CheckType.HTTP, timeout=0.3, **check)  # type: ignore[arg-type]
    return Job("127.0.0.1", port, "web.example:80", made)


@asynccontextmanager
async def answering(answer: bytes, seen: list[bytes] | None = None) -> AsyncIterator[int]:
    """Serve one fixed answer; keep the requests."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        writer.write(answer)
        if not answer:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def said(status: int, body: bytes = b"", *fields: str) -> bytes:
    head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


ANSWERS = [
    ("an expected status is well", said(204), {}, ProbeResult.OK),
    ("a redirect is not followed and is well", said(302, b"", "Location: http://127.0.0.1:1/"), {}, ProbeResult.OK),
    ("another status is not", said(503, b"down for now"), {}, ProbeResult.BAD_STATUS),
    ("statuses can be chosen", said(503), {"expected_statuses": ((200, 200), (503, 503))}, ProbeResult.OK),
    ("a part of the body can be asked for", said(200, b"all is well"), {"expect_body": "is well"}, ProbeResult.OK),
    ("and must be there", said(200, b"all is ill"), {"expect_body": "is well"}, ProbeResult.BAD_BODY),
    ("as a pattern too", said(200, b"version 12"), {"expect_body": r"~version \d+"}, ProbeResult.OK),
    ("within 64 KiB", said(200, b"x" * 70_000 + b"well"), {"expect_body": "well"}, ProbeResult.BAD_BODY),
    ("a pattern within 8 KiB", said(200, b"x" * 8100 + b"well"), {"expect_body": "~well"}, ProbeResult.OK),
    ("and not beyond", said(200, b"x" * 8192 + b"well"), {"expect_body": "~well"}, ProbeResult.BAD_BODY),
    ("what is not HTTP is not well", b"SSH-2.0-OpenSSH\r\n\r\n", {}, ProbeResult.BAD_PROTOCOL),
    ("silence is not well", b"", {}, ProbeResult.TIMEOUT),
]


@pytest.mark.parametrize(("answer", "check", "result"), [r[1:] for r in ANSWERS], ids=[r[0] for r in ANSWERS])
async def test_an_http_probe_judges(answer: bytes, check: dict[str, object], result: ProbeResult) -> None:
    probe = HttpProbe()
    try:
        async with answering(answer) as port:
            seen = await probe.probe(job(port, **check))
        assert seen.result is result
        if result is ProbeResult.BAD_STATUS:
            assert (seen.detail, seen.body) == ("status 503", "down for now")
    finally:
        await probe.close()


async def test_an_http_probe_asks_as_the_check_says_on_a_connection_of_its_own() -> None:
    seen: list[bytes] = []
    probe = HttpProbe()
    try:
        async with answering(said(200), seen) as port:
            await probe.probe(job(port, method="HEAD", path="/up?x=1", headers=(("X-Probe", "1"),)))
    finally:
        await probe.close()
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "HEAD /up?x=1 HTTP/1.1"
    assert {"Host: web.example:80", "User-Agent: balancer-health", "X-Probe: 1"} <= set(lines)
    assert "connection: close" in [line.lower() for line in lines]


async def test_a_tcp_probe_connects() -> None:
    with refusing() as address:
        refused = await tcp.probe(job(int(address.rpartition(":")[2])))
    assert refused.result is ProbeResult.REFUSED
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert (await tcp.probe(job(listener.getsockname()[1]))).result is ProbeResult.OK
    with blackhole() as address:
        assert (await tcp.probe(job(int(address.rpartition(":")[2])))).result is ProbeResult.TIMEOUT


def test_a_job_is_of_the_checks_port_and_nothing_without_an_address() -> None:
    made = job_of(group(check=HealthCheck(port=9)), target("a"))
    assert made is not None
    assert (made.port, made.host) == (9, "10.0.0.1:8000")
    assert job_of(group(check=None), target("a")) is None
    assert job_of(group(), target("a", ip="")) is None


class Bench:
    """A prober whose probes are answered by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.asked: list[asyncio.Future[Seen]] = []
        self.got: list[tuple[Key, ProbeResult]] = []

        async def ask(_job: Job) -> Seen:
            future: asyncio.Future[Seen] = asyncio.get_running_loop().create_future()
            self.asked.append(future)
            return await future

        monkeypatch.setattr(tcp, "probe", ask)
        self.prober = Prober(self.report, lambda _: 100.0, 8, self.clock)

    def report(self, key: Key, probe: Probe) -> None:
        self.got.append((key, probe.result))


JOB = Job("10.0.0.1", 8000, "10.0.0.1:8000", HealthCheck(interval=2.0))
ONE, TWO = ("demo", "a"), ("other", "a")


async def test_the_same_check_of_one_address_in_two_groups_is_one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.prober.assign({ONE: JOB, TWO: JOB})
    task = asyncio.create_task(bench.prober.run())
    await wait_for_async(lambda: bench.asked, 2.0)
    bench.asked[0].set_result(Seen(ProbeResult.OK))
    await wait_for_async(lambda: len(bench.got) == 2, 2.0)
    assert bench.got == [(ONE, ProbeResult.OK), (TWO, ProbeResult.OK)]
    assert len(bench.asked) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("where", ["report", "probe"])
async def test_a_target_is_checked_again_after_a_fault_of_our_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    bench = Bench(monkeypatch)
    if where == "report":
        reports = [ValueError("a fault")]
        monkeypatch.setattr(bench.prober, "_report", lambda key, probe: _raise(reports) or bench.report(key, probe))
    bench.prober.assign({ONE: JOB})
    task = asyncio.create_task(bench.prober.run())
    await wait_for_async(lambda: bench.asked, 2.0)
    if where == "probe":
        bench.asked[0].set_exception(ValueError("a fault"))
    else:
        bench.asked[0].set_result(Seen(ProbeResult.OK))
    await wait_for_async(lambda: "a probe failed here address=10.0.0.1:8000" in caplog.text, 2.0)
    bench.clock.now += JOB.check.interval
    bench.prober.assign({ONE: JOB})  # wakes it
    await wait_for_async(lambda: len(bench.asked) == 2, 2.0)
    bench.asked[1].set_result(Seen(ProbeResult.OK))
    await wait_for_async(lambda: bench.got == [(ONE, ProbeResult.OK)], 2.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _raise(errors: list[ValueError]) -> None:
    if errors:
        raise errors.pop()


async def test_what_ends_after_the_machine_was_asleep_says_nothing_about_a_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch)
    bench.prober.assign({ONE: JOB})
    task = asyncio.create_task(bench.prober.run())
    await wait_for_async(lambda: bench.asked, 2.0)
    bench.clock.go(30.0)  # all at once: docker pause, suspend
    bench.asked[0].set_result(Seen(ProbeResult.TIMEOUT))
    await wait_for_async(lambda: bench.clock.go(0.02) and len(bench.asked) == 2, 3.0)
    assert bench.got == []
    bench.asked[1].set_result(Seen(ProbeResult.OK))
    await wait_for_async(lambda: bench.got == [(ONE, ProbeResult.OK)], 2.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


ODD_ANSWERS = [
    ("an answer after a 100", b"HTTP/1.1 100 Continue\r\n\r\n" + said(200), {}, ProbeResult.OK),
    ("a body that ends with the connection", b"HTTP/1.0 200 OK\r\n\r\nwell", {"expect_body": "well"}, ProbeResult.OK),
    (
        "a body that is cut short",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nill",
        {"expect_body": "well"},
        ProbeResult.BAD_PROTOCOL,
    ),
    (
        "a body in chunks",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n",
        {"expect_body": "well"},
        ProbeResult.OK,
    ),
    ("a head without an end", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 12_000, {}, ProbeResult.BAD_PROTOCOL),
]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("answer", "check", "result"), [r[1:] for r in ODD_ANSWERS], ids=[r[0] for r in ODD_ANSWERS])
def test_an_http_probe_judges_what_is_odd_on_either_loop(
    answer: bytes, check: dict[str, object], result: ProbeResult, loop: str
) -> None:
    async def judged() -> ProbeResult:
        async with answering(answer) as port:
            return (await HttpProbe().probe(job(port, **check))).result

    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(judged()) is result


async def test_a_target_may_ask_to_be_drained_in_its_answer() -> None:
    async with answering(said(200, b"", "X-Balancer-Drain: 1")) as port:
        assert (await HttpProbe().probe(job(port))).drain
    async with answering(said(200, b"", "X-Balancer-Drain: 0")) as port:
        assert not (await HttpProbe().probe(job(port))).drain


def test_no_more_than_so_many_are_begun_at_once() -> None:
    schedule = Schedule[str]()
    schedule.begin([f"j{n}" for n in range(60)], 0.0)
    assert [len(schedule.take(1.0, 25)) for _ in range(4)] == [25, 25, 10, 0]
