"""`make fuzz-wire`: fuzzed bytes from clients and from targets at two running workers, one connection at a time.

    FUZZ_SECONDS=600    how long
    FUZZ_SEED=1         else drawn, and printed

Nothing may crash or be restarted, no answer may be a 500 or carry `internal_error`, nothing may be logged as an error,
and a well-formed request in between must get its own answer. What broke one of these is printed, with the seed.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from itertools import pairwise

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS
from tests.support.balancer import Balancer
from tests.support.configs import forward, group, listener
from tests.support.kernel import descriptor_count, resident_bytes
from tests.support.raw import RawClient, ask, request
from tests.support.recorder import respond
from tests.support.stream import Cut, Stream
from tests.support.upstream import Upstream

MIB = 1024 * 1024
GROWN = 16 * MIB  # that a worker may have grown by, tables of heads included
EVERY = 20  # inputs between two requests that must be answered well
TIMEOUTS = {"connect": "1s", "response_header": "2s", "response_idle": "2s"}


class Liar(Upstream):
    """Answers the requests of `evil.test` with whatever bytes it was given last, and others as they should be."""

    def __init__(self) -> None:
        self.data = b""
        super().__init__(timeout=10.0)

    def serve(self, stream: Stream, number: int) -> None:
        while True:
            try:
                head = stream.read_until(b"\r\n\r\n")
            except Cut:
                return
            if b"\r\nHost: evil.test\r\n" in head:
                stream.send(self.data)
                return
            if b"\r\nHost: good.test\r\n" not in head:
                stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                stream.half_close()
                stream.read_to_end()
                return
            mark = head.partition(b"X-Test-Id: ")[2].partition(b"\r\n")[0].decode()
            stream.send(respond(200, b"ok", f"X-Echo-Id: {mark}"))


class Run:
    """One run: what was sent, what came of it, and what was wrong."""

    def __init__(self, balancer: Balancer, liar: Liar, seed: int) -> None:
        self.balancer, self.liar = balancer, liar
        self.address = balancer.address()
        self.chance = random.Random(seed)
        self.requests = [data for _, data in TARGETS["request-head"].inputs()]
        self.responses = [data for _, data in TARGETS["response-head"].inputs()]
        self.statuses: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.count = 0

    def one(self) -> None:
        """Send one input, from the client's side or from the target's."""
        self.count += 1
        if self.chance.random() < 0.6:
            data = mutate(self.chance.choice(self.requests), self.requests, self.chance)
            got = self.spoken(data)
        else:
            data = mutate(self.chance.choice(self.responses), self.responses, self.chance)
            self.liar.data = data
            got = self.spoken(request("GET", "/", "Connection: close", host="evil.test"))
        status = got[9:12].decode("latin-1") if got.startswith(b"HTTP/1.1 ") else "none"
        self.statuses[status] += 1
        if b"internal_error" in got or (got.startswith(b"HTTP/1.1 500") and b"Proxy-Status: balancer" in got):
            self.wrong.append(f"input {self.count}: {data!r} got {got[:300]!r}")
        if self.count % EVERY == 0:
            self.well()

    def spoken(self, data: bytes) -> bytes:
        """Send bytes in one to three pieces and return all that comes back; a fifth of the clients just leaves."""
        edges = sorted({0, len(data), *(self.chance.randint(0, len(data)) for _ in range(self.chance.randint(0, 2)))})
        with RawClient(self.address, timeout=10.0) as client:
            try:
                if not client.send_apart(data[start:end] for start, end in pairwise(edges)):
                    return client.read_to_end()
                if self.chance.random() < 0.2:
                    client.reset()
                    return b""
                client.half_close()
                return client.read_to_end()
            except TimeoutError:
                self.wrong.append(f"input {self.count}: {data!r}: no answer and no end")
            except OSError:
                self.statuses["reset"] += 1
        return b""

    def well(self) -> None:
        """A request that is as it should be gets its own answer."""
        mark = f"f{self.count}"
        answer = ask(self.address, request("GET", "/", f"X-Test-Id: {mark}", host="good.test"), timeout=10.0)
        if (answer.status, answer.get("x-echo-id"), answer.body) != (200, mark, b"ok"):
            self.wrong.append(f"after input {self.count}: {answer.head.raw!r} for {mark}")


def config(address: str) -> dict[str, object]:
    """Return two groups of the same target, so that a lie is never a reason to send honest requests elsewhere."""
    rules = [forward("honest", hosts=["good.test"]), forward("lies")]
    groups = [group(name, address, timeouts=TIMEOUTS, retry={"max_retries": 0}) for name in ("honest", "lies")]
    limits = {"first_byte": "2s", "request_header": "2s", "request_body_idle": "2s", "half_close": "1s"}
    return {"listeners": [listener("web", rules, timeouts=limits)], "target_groups": groups}


def fuzz(seconds: float, seed: int) -> Run:
    """Fuzz for so long; raise AssertionError for what the balancer did that it must not."""
    with Liar() as liar, Balancer(config(liar.address), workers=2) as balancer:
        run = Run(balancer, liar, seed)
        for _ in range(200):
            run.one()
        pids = balancer.worker_pids()
        sizes = {pid: resident_bytes(pid) for pid in pids}
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(run.wrong) < 10:
            run.one()
        run.well()
        assert not run.wrong, "\n".join(run.wrong)
        balancer.check_clean()
        assert balancer.worker_pids() == pids, "a worker was replaced"
        after = balancer.metrics()
        assert after.sum("worker_restarts_total") == 0
        assert after.sum("failures_total", reason="internal_error") == 0
        for pid in pids:
            grown = resident_bytes(pid) - sizes[pid]
            print(f"worker {pid}: {grown / MIB:+.1f} MiB, {descriptor_count(pid)} descriptors")
            assert grown < GROWN
        return run


def main() -> int:
    """Fuzz and tell; return 1 if something did not hold."""
    seconds = float(os.environ.get("FUZZ_SECONDS") or 600)
    seed = int(os.environ.get("FUZZ_SEED") or random.randrange(1, 2**31))
    os.nice(10)
    print(f"seed {seed}, {seconds:.0f} s", flush=True)
    try:
        run = fuzz(seconds, seed)
    except AssertionError as fault:
        print(f"DOES NOT HOLD with seed {seed}: {fault}")
        return 1
    print(f"held: {run.count} inputs, answers {dict(run.statuses.most_common())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
