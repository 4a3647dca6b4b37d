"""Balancer: the program as its users start it, in a folder of its own, seen only through its surface.

This module is the only one of the tests that knows how the program is started and asked.
"""

from __future__ import annotations

import contextlib
import copy
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import yaml

from tests.support import kernel
from tests.support.faults import quiet_port
from tests.support.metrics import Metrics
from tests.support.process import start
from tests.support.raw import Address
from tests.support.waiting import wait_for

TROUBLE = re.compile(r"Traceback \(most recent call last\)|\bERROR\b|\bCRITICAL\b|never retrieved|never awaited")
START_BOUND = 15.0
Config = Mapping[str, Any] | str


class Balancer:
    """A running `balancer run`; a context manager. At its end: SIGTERM, exit 0, no error logged, nothing leaked.

    A mapping as configuration gets an admin address, `127.0.0.1:0` for listeners without one, and `workers` (1 unless
    said); a text is written as it is, `{admin}` in it replaced by the admin address. `may_log` is a pattern of trouble
    in the log that the test provokes on purpose. `before` are words that start the program in another place
    (`unshare …`) and become it; `{admin}` and `{admin_port}` in values of `env` are replaced, too.
    """

    live: ClassVar[list[Balancer]] = []

    def __init__(
        self,
        config: Config,
        *,
        workers: int | None = None,
        env: Mapping[str, str] | None = None,
        may_log: str | None = None,
        args: tuple[str, ...] = (),
        before: Sequence[str] = (),
    ) -> None:
        self.config, self.workers, self.env, self.may_log, self.args = config, workers, env, may_log, args
        self.before = before
        self.folder = Path(tempfile.mkdtemp(prefix="balancer-"))
        self.file = self.folder / "balancer.yaml"
        self.out, self.err = self.folder / "stdout", self.folder / "stderr"
        self.process: subprocess.Popen[bytes] | None = None
        self.admin: Address = ("127.0.0.1", 0)
        self._lines: list[dict[str, Any]] = []
        self._out_at = self._err_at = 0
        self._descriptors: dict[int, dict[str, int]] = {}
        self._clean: dict[int, int] = {}
        self.baseline = Metrics({})

    # -- life

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.running:
                self.check_clean()
                self.stop()
        finally:
            self.close()

    def start(self) -> Self:
        """Start the program and wait until `/readyz` answers 200."""
        for attempt in range(3):
            self.admin = ("127.0.0.1", quiet_port())
            self.file.write_text(self.render(self.config))
            with self.out.open("wb") as out, self.err.open("wb") as err:
                argv = [*self.before, sys.executable, "-m", "balancer", "run", str(self.file), *self.args]
                self.process = start(argv, out, err, self._environment())
            try:
                wait_for(self._ready, START_BOUND, "the balancer is ready")
                break
            except AssertionError as fault:
                logs = self.describe()
                self._kill_group()
                if attempt == 2 or "in use" not in self.log_text().lower():
                    raise AssertionError(f"{fault}\n{logs}") from None
        Balancer.live.append(self)
        for pid in self.worker_pids():
            self._descriptors[pid] = dict(kernel.descriptors_by_kind(pid))
            self._clean[pid] = kernel.descriptor_count(pid)
        self.mark()
        return self

    def _environment(self) -> dict[str, str]:
        host, port = self.admin
        return {
            name: value.replace("{admin}", f"{host}:{port}").replace("{admin_port}", str(port))
            for name, value in (self.env or {}).items()
        }

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the balancer ended with {self.process.returncode} before it was ready")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def render(self, config: Config) -> str:
        """Return the text that is written for a configuration."""
        address = f"{self.admin[0]}:{self.admin[1]}"
        if isinstance(config, str):
            return config.replace("{admin}", address)
        whole = copy.deepcopy(dict(config))
        whole.setdefault("admin", {}).setdefault("address", address)
        whole.setdefault("workers", self.workers or 1)
        for listener in whole.get("listeners", []):
            listener.setdefault("address", "127.0.0.1:0")
        return yaml.safe_dump(whole, sort_keys=False)

    @property
    def running(self) -> bool:
        """Whether the supervisor runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self.process is not None
        return self.process.pid

    def stop(self, within: float = 15.0) -> None:
        """Send SIGTERM; assert that the program ends by itself with exit code 0."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {within} s after SIGTERM\n{self.describe()}") from None
        assert code == 0, f"exit code {code} after SIGTERM\n{self.describe()}"
        self.check_log()

    def close(self) -> None:
        """End everything that is left of it and remove its folder."""
        if self in Balancer.live:
            Balancer.live.remove(self)
        self._kill_group()
        if "KEEP_BALANCER_FOLDERS" not in os.environ:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _kill_group(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one of its processes."""
        os.kill(pid, number)

    # -- admin surface

    def get(self, path: str, method: str = "GET", body: bytes | None = None, timeout: float = 5.0) -> tuple[int, bytes]:
        """Ask the admin server; return status and body. Raises OSError when it does not answer."""
        connection = http.client.HTTPConnection(*self.admin, timeout=timeout)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as fault:
            raise ConnectionError(str(fault)) from fault
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """Return `/api/v1/status`."""
        code, body = self.get("/api/v1/status")
        assert code == 200, (code, body)
        found: dict[str, Any] = json.loads(body)
        return found

    def metrics(self) -> Metrics:
        """Return a scrape of `/metrics`."""
        code, body = self.get("/metrics")
        assert code == 200, (code, body)
        return Metrics.parse(body.decode())

    def address(self, listener: str = "web") -> Address:
        """Return host and port of a listener as bound."""
        for one in self.status()["listeners"]:
            if one["name"] == listener:
                host, _, port = one["address"].rpartition(":")
                return host.strip("[]"), int(port)
        raise AssertionError(f"no listener {listener!r}")

    def port(self, listener: str = "web") -> int:
        """Return the port of a listener as bound."""
        return self.address(listener)[1]

    def url(self, listener: str = "web") -> str:
        """Return the URL of an http listener."""
        host, port = self.address(listener)
        return f"http://{host}:{port}"

    def worker_pids(self) -> list[int]:
        """Return the pids of the workers."""
        return [one["pid"] for one in self.status()["workers"]]

    def control_pid(self) -> int:
        """Return the pid of control."""
        pid: int = self.status()["control"]["pid"]
        return pid

    def group(self, name: str) -> dict[str, Any]:
        """Return a target group as `/api/v1/status` shows it."""
        found: dict[str, Any] = next(one for one in self.status()["target_groups"] if one["name"] == name)
        return found

    def target(self, group: str, name: str) -> dict[str, Any]:
        """Return a target as `/api/v1/status` shows it."""
        found: dict[str, Any] = next(one for one in self.group(group)["targets"] if one["name"] == name)
        return found

    def wait_for_state(self, group: str, target: str, state: str, deadline: float = 10.0) -> None:
        """Wait until a target is in a state."""
        wait_for(lambda: self.target(group, target)["state"] == state, deadline, f"{group}/{target} is {state}")

    def write(self, config: Config) -> None:
        """Replace the configuration file by rename and tell nobody."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(self.render(config))
        fresh.replace(self.file)
        self.config = config

    def reload(self, config: Config | None = None, *, applied: bool = True, within: float = 5.0) -> dict[str, Any]:
        """Write a configuration, send SIGHUP, wait for the verdict; return `config` of the status.

        `applied=False` expects that the file is refused and nothing changes.
        """
        before = self.status()["config"]
        if config is not None:
            self.write(config)
        self.kill(self.pid, signal.SIGHUP)

        def judged() -> dict[str, Any] | None:
            now: dict[str, Any] = self.status()["config"]
            return now if now["last_reload"]["at"] != before["last_reload"]["at"] else None

        after = wait_for(judged, within, "a verdict on the new configuration")
        assert after["last_reload"]["success"] is applied, (after, self.log_text()[-2000:])
        if not applied:
            assert after["version"] == before["version"], (before, after)
        return after

    # -- logs

    def log_text(self) -> str:
        """Return the program's own log."""
        return self.err.read_text(errors="replace") if self.err.exists() else ""

    def told(self, text: str, times: int = 1, deadline: float = 5.0) -> list[str]:
        """Wait for `times` lines of the log that hold `text` and return them; there must not be more.

        What an answer shows may be said a moment later: a thread of its own writes the log.
        """

        def lines() -> list[str] | None:
            found = [line for line in self.log_text().splitlines() if text in line]
            return found if len(found) >= times else None

        said = wait_for(lines, deadline, f"{times} lines of the log with {text!r}")
        assert len(said) == times, said
        return said

    def access_log(self) -> list[dict[str, Any]]:
        """Return the lines of the access log so far."""
        with self.out.open("rb") as file:
            file.seek(self._out_at)
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._out_at += len(whole)
        self._lines += [json.loads(line) for line in whole.splitlines()]
        return self._lines

    def logged(self, request_id: str, deadline: float = 3.0) -> dict[str, Any]:
        """Wait for the access-log line of a request id; there must be exactly one."""

        def found() -> list[dict[str, Any]]:
            return [line for line in reversed(self.access_log()) if line["request_id"] == request_id]

        lines = wait_for(found, deadline, f"an access-log line of {request_id}")
        assert len(lines) == 1, lines
        return lines[0]

    def describe(self) -> str:
        """Return configuration and logs, for the message of a failed test."""
        out = self.out.read_text(errors="replace") if self.out.exists() else ""
        parts = (self.file.read_text(), "--- stderr", self.log_text()[-8000:], "--- stdout", out[-3000:])
        return "\n".join(parts)

    # -- what must hold after each test

    def mark(self) -> None:
        """Remember what has been counted by now."""
        self.baseline = self.metrics()

    @contextlib.contextmanager
    def expecting_log(self, pattern: str) -> Iterator[None]:
        """Allow trouble in the log that matches `pattern` for the duration of the context."""
        before, self.may_log = self.may_log, pattern
        try:
            yield
            self.check_log()
        finally:
            self.may_log = before

    def check_log(self) -> None:
        """Assert that the log has no traceback and no ERROR line since the last check."""
        with self.err.open("rb") as file:
            file.seek(self._err_at)
            fresh = file.read()
        self._err_at += len(fresh)
        text = fresh.decode(errors="replace")
        lines = [line for line in text.splitlines() if TROUBLE.search(line)]
        if self.may_log is not None:
            lines = [line for line in lines if not re.search(self.may_log, line)]
        assert not lines, f"trouble in the log:\n{text[-6000:]}"

    def check_clean(self) -> None:
        """Assert: no trouble logged, no request active, no client connection or descriptor kept by a worker.

        A worker may keep pooled upstream connections beyond what it had at its start, and nothing else.
        """
        self.check_log()
        wait_for(lambda: self.metrics().sum("active_requests") == 0, 2.0, "active requests return to 0")
        ports = {int(one["address"].rpartition(":")[2]) for one in self.status()["listeners"]}
        for pid, before in self._descriptors.items():
            if kernel.is_running(pid):
                self._check_released(pid, before, ports)

    def _check_released(self, pid: int, before: dict[str, int], ports: set[int]) -> None:
        def leaks() -> list[str]:
            return self._leaks(pid, before, ports)

        def settled() -> bool:
            # looking at every socket of the machine is slow: only where descriptors have become more
            return kernel.descriptor_count(pid) <= self._clean[pid] or not leaks()

        wait_for(settled, 2.0, lambda: f"worker {pid} gives back what it holds: {leaks()[:10]}")
        self._clean[pid] = kernel.descriptor_count(pid)

    def _leaks(self, pid: int, before: dict[str, int], ports: set[int]) -> list[str]:
        sockets = [one for one in kernel.tcp_sockets(pid) if one.state != "listen"]
        found = [str(one) for one in sockets if one.local[1] in ports or one.state in ("close_wait", "close")]
        now = kernel.descriptors_by_kind(pid)
        return found + [
            f"{kind}: {before.get(kind, 0)} -> {count}" for kind, count in now.items() if count > before.get(kind, 0)
        ]
