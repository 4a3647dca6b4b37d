"""Every reason that HTTP can meet is provoked, and says the same word wherever it is said: answer, log and metric.

`PROVOKED` holds a function for each word of the enum; what has none stands in `NOT_YET`, with why. The pages of the
words are held against the enum in tests/system/test_readme.py.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from balancer.model.reason import REASONS
from tests.support import hostile
from tests.support.balancer import Balancer
from tests.support.configs import forward, group, listener
from tests.support.failure import expect_counted, expect_failure
from tests.support.faults import Swallower, blackhole, refusing
from tests.support.hostile import Hostile
from tests.support.raw import RawClient, request
from tests.support.recorder import Recorder, respond
from tests.support.waiting import pace, wait_for

NOT_YET = {
    "plain_on_tls_port": "no TLS listeners",
    "host_sni_mismatch": "no TLS listeners",
    "upstream_tls_failed": "no TLS to targets",
    "upstream_tls_untrusted": "no TLS to targets",
    "denied": "no address lists",
    "config_error": "no configuration that is accepted leads to it",
    "internal_error": "cannot be asked for from outside: tests/unit/data/test_exchange.py and test_traps.py",
}
STALL = [[hostile.read_request, hostile.stall], [hostile.serve_well]]
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
SWITCHED = b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
Provoke = Callable[["Scene"], None]
PROVOKED: dict[str, Provoke] = {}


def provokes(word: str) -> Callable[[Provoke], Provoke]:
    """Say that a function provokes a word, and checks it everywhere."""

    def said(function: Provoke) -> Provoke:
        PROVOKED[word] = function
        return function

    return said


@dataclass
class Scene:
    """A balancer with all that a target or a client can be to it."""

    balancer: Balancer
    peer: Hostile
    word: str = ""
    lines: int = 0

    @property
    def status(self) -> int:
        return next(reason.status for reason in REASONS if reason.word == self.word)

    def client(self, name: str = "web") -> RawClient:
        return RawClient(self.balancer.address(name), timeout=8)

    def refused(self, data: bytes, name: str = "web") -> None:
        """Send bytes; expect an answer with the word and its status, logged and counted."""
        with self.client(name) as client:
            with contextlib.suppress(OSError):  # it may be refused before all of it is sent
                client.send(data)
            self.answered(client)

    def answered(self, client: RawClient) -> None:
        """Expect the answer on a connection that has asked already."""
        expect_failure(client.recv_response(), self.balancer, self.word, self.status)

    def logged(self, status: int, source: str) -> None:
        """Expect the word in one line of the log and in the metric, where no answer can carry it."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.balancer.access_log()[self.lines :] if line["reason"] == self.word]

        (line,) = wait_for(found, 5.0, f"a line with {self.word}")
        assert (line["status"], line["source"]) == (status, source), line
        expect_counted(self.balancer, self.word)

    def retried(self) -> None:
        """Expect the word among the causes of further tries."""
        before = self.balancer.baseline.sum("retries_total", reason=self.word)
        wait_for(lambda: self.balancer.metrics().sum("retries_total", reason=self.word) == before + 1, 3, self.word)

    @contextlib.contextmanager
    def stalled(self, host: str = "hostile") -> Iterator[RawClient]:
        """Yield a client whose request is at the target, which says nothing; the client resets at the end."""
        self.peer.play(scripts=STALL)
        with self.client() as client:
            client.send(request(host=f"{host}.test"))
            wait_for(lambda: self.peer.heads, 3, "the request is upstream")
            yield client
            client.reset()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        peer, well = stack.enter_context(Hostile()), stack.enter_context(Recorder("well"))
        nobody, away = stack.enter_context(refusing()), stack.enter_context(blackhole())
        swallower = stack.enter_context(Swallower())
        groups = [
            group("hostile", peer.address),
            group("slow", peer.address, timeouts={"response_header": "300ms", "response_idle": "300ms"}),
            group("short", peer.address, timeouts={"request": "300ms"}),
            group("queue", peer.address, max_connections=1, queue={"size": 1, "timeout": "300ms"}),
            group("swallower", swallower.address, timeouts={"request_write_idle": "300ms"}),
            group("nobody", nobody),
            group("nowhere", "255.255.255.255:9"),
            group("away", away, timeouts={"connect": "300ms"}, retry={"max_retries": 0}),
            group("empty"),
            group("sick", nobody, zones={"panic_threshold": 0}, health_check={"interval": "100ms", "timeout": "100ms"}),
            group("leaving", peer.address, well.address, drain_timeout="200ms"),
            group("both", peer.address, well.address, passive={"consecutive_gateway_failures": 1}),
            group("status", peer.address, well.address, retry={"on": [503]}),
            group("spent", peer.address, retry={"on": [503], "budget_percent": 0, "budget_min": 0}),
        ]
        rules = [forward(one["name"], hosts=[f"{one['name']}.test"]) for one in groups]
        brief = {"request_header": "300ms", "request_body_idle": "300ms", "write_idle": "300ms", "tunnel_idle": "300ms"}
        listeners = [
            listener("web", rules),
            listener("brief", rules, timeouts=brief),
            listener("small", rules, limits={"body": "1KiB"}),
            listener("limited", rules, rate_limit={"rate": "1/m", "burst": 1}),
            listener("one-each", rules, limits={"connections_per_client": 1}),
            listener("one", rules, limits={"connections": 1}),
        ]
        config = {"listeners": listeners, "target_groups": groups}
        balancer = stack.enter_context(Balancer(config))
        balancer.wait_for_state("sick", "sick1", "unhealthy")
        yield Scene(balancer, peer)


@pytest.mark.parametrize("word", [reason.word for reason in REASONS if reason.word not in NOT_YET])
def test_a_reason_is_the_same_word_in_answer_log_and_metric(word: str, scene: Scene) -> None:
    assert word in PROVOKED, "nobody provokes it"
    scene.word, scene.lines = word, len(scene.balancer.access_log())
    PROVOKED[word](scene)


def test_every_word_is_provoked_or_stands_among_those_that_cannot_be() -> None:
    assert not set(PROVOKED) & set(NOT_YET)
    assert set(PROVOKED) | set(NOT_YET) == {reason.word for reason in REASONS}


# -- what a client may say wrong

SAID = {
    "bad_request": b"\r\n\r\n\r\n\r\n" + request(),
    "bad_header": request("GET", "/", "X A: b"),
    "bad_host": request(host=None),
    "bad_target": request("GET", "a"),
    "bad_chunk": request("POST", "/", "Transfer-Encoding: chunked", host="hostile.test") + b"zz\r\n",
    "bad_upgrade": request("GET", "/", *UPGRADE[:3]),
    "framing_conflict": request("POST", "/", "Content-Length: 1", "Content-Length: 1") + b"x",
    "tls_on_plain_port": b"\x16\x03\x01\x02\x00\x01\x00",
    "header_too_large": request("GET", "/", *(f"X-{number}: {'a' * 8000}" for number in range(5))),
    "uri_too_long": request("GET", "/" + "a" * 9000),
    "unsupported_coding": request("POST", "/", "Transfer-Encoding: gzip"),
    "unsupported_method": request("FROB"),
    "unsupported_version": request(version="1.2"),
    "method_not_allowed": request("TRACE"),
    "expectation_failed": request("POST", "/", "Expect: miracles", body=b"x"),
    "no_rule": request(host="none.test"),
    "loop_detected": request("GET", "/", "X-Balancer-Hops: 10"),
}
for _word, _data in SAID.items():
    provokes(_word)(lambda scene, data=_data: scene.refused(data))  # type: ignore[misc]


@provokes("body_too_large")
def _(scene: Scene) -> None:
    scene.refused(request("POST", "/", "Content-Length: 2000", host="hostile.test"), "small")


@provokes("client_header_timeout")
def _(scene: Scene) -> None:
    scene.refused(b"GET / HTTP/1.1\r\n", "brief")


@provokes("client_body_timeout")
def _(scene: Scene) -> None:
    scene.peer.play(scripts=STALL)
    scene.refused(request("POST", "/", "Content-Length: 10", host="hostile.test") + b"abc", "brief")


@provokes("client_too_slow")
def _(scene: Scene) -> None:
    flood = hostile.loop(hostile.send(b"a" * 65536))
    head = hostile.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    scene.peer.play(scripts=[[hostile.read_request, head, flood], [hostile.serve_well]])
    with RawClient(scene.balancer.address("brief"), receive_buffer=65536) as client:
        client.send(request(host="hostile.test"))
        scene.logged(200, "upstream")


@provokes("client_closed")
def _(scene: Scene) -> None:
    with scene.stalled() as client:
        client.reset()
        scene.logged(499, "balancer")


@provokes("rate_limited")
def _(scene: Scene) -> None:
    scene.peer.play(hostile.serve_well)
    with scene.client("limited") as client:
        client.ask(request(host="hostile.test"))
        client.send(request(host="hostile.test"))
        scene.answered(client)


@provokes("ip_connection_limit")
def _(scene: Scene) -> None:
    with scene.client("one-each") as first:
        first.send(b"GET")
        with scene.client("one-each") as second:
            scene.answered(second)


@provokes("connection_limit")
def _(scene: Scene) -> None:
    with scene.client("one"):
        expect_counted(scene.balancer, "connection_limit")


# -- no target can be used


@provokes("no_targets")
def _(scene: Scene) -> None:
    scene.refused(request(host="empty.test"))


@provokes("no_healthy_target")
def _(scene: Scene) -> None:
    scene.refused(request(host="sick.test"))


@provokes("queue_full")
def _(scene: Scene) -> None:
    with scene.stalled("queue"), scene.client() as waiting:
        assert waiting.send_apart([request(host="queue.test")])
        scene.refused(request(host="queue.test"))
        waiting.recv_response()


@provokes("queue_timeout")
def _(scene: Scene) -> None:
    with scene.stalled("queue"):
        scene.refused(request(host="queue.test"))


@provokes("connect_refused")
def _(scene: Scene) -> None:
    scene.refused(request(host="nobody.test"))


@provokes("connect_unreachable")
def _(scene: Scene) -> None:
    scene.refused(request(host="nowhere.test"))


@provokes("connect_timeout")
def _(scene: Scene) -> None:
    scene.refused(request(host="away.test"))


@provokes("no_local_resources")
def _(scene: Scene) -> None:
    """Counted; the answer of a request that finds no descriptor for its target: tests/unit/data/test_descriptors.py."""
    few = ("sh", "-c", 'ulimit -n 100; exec "$@"', "sh")
    with Balancer(alone(), before=few) as other, contextlib.ExitStack() as stack:
        for _ in range(100):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(other.address())
        wait_for(lambda: other.metrics().sum("failures_total", reason=scene.word), 5, "it is counted")


# -- the target fails on the request


def failing(scene: Scene, *steps: hostile.Step, data: bytes = b"", host: str = "hostile") -> None:
    """Let the target do so with a request that may not be sent twice; expect the answer."""
    scene.peer.play(scripts=[[hostile.read_request, *steps], [hostile.serve_well]])
    scene.refused(data or request("POST", body=b"x", host=f"{host}.test"))


@provokes("upstream_closed")
def _(scene: Scene) -> None:
    failing(scene, hostile.fin)


@provokes("upstream_reset")
def _(scene: Scene) -> None:
    failing(scene, hostile.rst)


@provokes("upstream_write_timeout")
def _(scene: Scene) -> None:
    with scene.client() as client:
        client.send(request("POST", "/", "Content-Length: 100000000", host="swallower.test"))
        client.sock.settimeout(0.2)
        with contextlib.suppress(OSError):  # once everything on the way is full only the deadline can end it
            while client.has_nothing():
                client.sock.settimeout(0.2)
                client.sock.send(b"a" * 65536)
        scene.answered(client)


@provokes("response_timeout")
def _(scene: Scene) -> None:
    failing(scene, hostile.stall, host="slow")


@provokes("request_timeout")
def _(scene: Scene) -> None:
    failing(scene, hostile.stall, host="short")


@provokes("bad_response")
def _(scene: Scene) -> None:
    failing(scene, hostile.send(b"HTTP/1.1 2x0 OK\r\n\r\n"), hostile.stall)


@provokes("response_header_too_large")
def _(scene: Scene) -> None:
    failing(scene, hostile.send(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n"), hostile.stall)


@provokes("upgrade_failed")
def _(scene: Scene) -> None:
    failing(scene, hostile.send(SWITCHED), hostile.stall)


@provokes("response_truncated")
def _(scene: Scene) -> None:
    cut(scene, "hostile", hostile.fin)


@provokes("response_idle_timeout")
def _(scene: Scene) -> None:
    cut(scene, "slow", hostile.stall)


def cut(scene: Scene, host: str, last: hostile.Step) -> None:
    """Let an answer begin and go no further; expect the client to be cut off."""
    scene.peer.play(scripts=[[hostile.read_request, hostile.send(BEGUN), last], [hostile.serve_well]])
    with scene.client() as client:
        client.send(request(host=f"{host}.test"))
        assert not client.recv_response().complete and client.end == "reset"
    scene.logged(200, "upstream")


@provokes("unsolicited_response")
def _(scene: Scene) -> None:
    scene.peer.play(hostile.read_request, hostile.send(respond(200, b"ok") + b"more"), hostile.stall)
    with scene.client() as client:
        assert client.ask(request(host="hostile.test")).body == b"ok"
    expect_counted(scene.balancer, "unsolicited_response")


@provokes("target_removed")
def _(scene: Scene) -> None:
    config = scene.balancer.config
    assert not isinstance(config, str)
    scene.peer.play(scripts=STALL)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(scene.client()) for _ in range(2)]  # in turn: one of them is at the peer
        for client in clients:
            client.send(request("POST", body=b"x", host="leaving.test"))
        wait_for(lambda: scene.peer.heads, 3, "one request is upstream")
        groups = [
            one if one["name"] != "leaving" else {**one, "targets": one["targets"][1:]} for one in groups_of(config)
        ]
        scene.balancer.reload({**config, "target_groups": groups})
        answers = [client.recv_response() for client in clients]
        (failed,) = [one for one in answers if one.status != 200]
        expect_failure(failed, scene.balancer, "target_removed", 502)
    scene.balancer.reload(config)


def groups_of(config: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = config["target_groups"]
    return found


@provokes("idle_timeout")
def _(scene: Scene) -> None:
    scene.peer.play(scripts=[[hostile.read_request, hostile.send(SWITCHED), hostile.stall], [hostile.serve_well]])
    with scene.client("brief") as client:
        client.send(request("GET", "/", *UPGRADE, host="hostile.test"))
        assert b" 101 " in client.recv_head().raw
        client.read_to_end(5)
    scene.logged(101, "upstream")


# -- the balancer itself


def alone(**more: Any) -> dict[str, Any]:
    answer = {"action": {"fixed_response": {"status": 200, "body": "ok"}}}
    return {"listeners": [listener("web", [answer])], "target_groups": [], **more}


@provokes("overloaded")
def _(scene: Scene) -> None:
    with Balancer(alone()) as other:
        (worker,) = other.worker_pids()
        shown = Scene(other, scene.peer, scene.word)
        for _ in range(40):  # it gets little of its time
            other.kill(worker, signal.SIGSTOP)
            pace(0.25)
            other.kill(worker, signal.SIGCONT)
            pace(0.03)
            if other.metrics().sum("shed_ratio") > 0:
                break
        with shown.client() as client:
            answers = [client.ask(request()) for _ in range(20)]
        failed = [one for one in answers if one.status != 200]
        assert failed
        expect_failure(failed[0], other, "overloaded", 503, times=len(failed))


@provokes("shutting_down")
def _(scene: Scene) -> None:
    """Nobody is left to ask for the metric once it is over."""
    config = {**alone(stop_timeout="500ms"), "target_groups": [group("hostile", scene.peer.address)]}
    config["listeners"] = [listener("web", [forward("hostile")])]
    scene.peer.play(scripts=STALL)
    with Balancer(config) as other:
        with RawClient(other.address(), timeout=8) as client:
            client.send(request())
            wait_for(lambda: scene.peer.heads, 3, "the request is upstream")
            other.process and other.process.send_signal(signal.SIGTERM)
            expect_failure(client.recv_response(), other, "shutting_down", 503, times=0)
        assert other.process is not None and other.process.wait(10) == 0


@provokes("worker_lost")
def _(scene: Scene) -> None:
    """Counted, and told by explain; who was inside writes no line any more."""
    with scene.stalled() as client:
        (worker,) = scene.balancer.worker_pids()
        os.kill(worker, signal.SIGKILL)
        client.expect_closed()
    before = scene.balancer.baseline.sum("failures_total", reason=scene.word)
    after = "its successor counts what was inside"
    wait_for(lambda: scene.balancer.metrics().sum("failures_total", reason=scene.word) > before, 10, after)
    expect_counted(scene.balancer, "worker_lost")


# -- why a request was tried again


@provokes("rescue")
def _(scene: Scene) -> None:
    scene.peer.play(scripts=[[hostile.read_request, hostile.stall], [hostile.read_request, hostile.rst]])
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(scene.client()) for _ in range(4)]  # two of them are at the peer
        for client in clients:
            client.send(request(host="both.test"))
        assert [client.recv_response().status for client in clients] == [200] * 4
    scene.retried()


@provokes("budget")
def _(scene: Scene) -> None:
    scene.peer.play(hostile.read_request, hostile.send(respond(503)), hostile.stall)
    with scene.client() as client:
        assert client.ask(request(host="spent.test")).status == 503
    scene.retried()


@provokes("upstream_status")
def _(scene: Scene) -> None:
    scene.peer.play(hostile.loop(hostile.read_request, hostile.send(respond(503))))
    with scene.client() as client:
        assert [client.ask(request(host="status.test")).status for _ in range(2)] == [200] * 2
    scene.retried()


@provokes("reuse_race")
def _(scene: Scene) -> None:
    steps = [hostile.read_request, hostile.answer(), hostile.read_request, hostile.close]
    scene.peer.play(scripts=[steps, [hostile.serve_well]])
    with scene.client() as client:
        assert [client.ask(request(host="hostile.test")).status for _ in range(2)] == [200] * 2
    scene.retried()
