"""Proc: a program in a process of its own, addressed by its pid, that dies with the test run whatever happens."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from tests.support.kernel import is_running
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends (prctl(2))."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(
    argv: Sequence[str],
    stdout: IO[bytes],
    stderr: IO[bytes],
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a program in the repository's root, in a process group of its own."""
    return subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


class Proc:
    """A process of the test's own; a context manager that kills it at the end. `commanded`: it reads its stdin."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None, *, commanded: bool = False) -> None:
        self.argv, self.env = list(argv), env
        self.stdin = subprocess.PIPE if commanded else subprocess.DEVNULL
        self.folder = tempfile.TemporaryDirectory(prefix="proc-")
        self.out, self.err = Path(self.folder.name, "stdout"), Path(self.folder.name, "stderr")
        self._start()

    def _start(self) -> None:
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = start(self.argv, out, err, self.env, self.stdin)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; after SIGKILL, wait until the process is gone."""
        if self.process.poll() is None:
            os.kill(self.pid, number)
        if number == signal.SIGKILL:
            self.process.wait(5)

    def stop(self) -> None:
        """Freeze the process (SIGSTOP): the kernel goes on accepting connections for it."""
        self.kill(signal.SIGSTOP)

    def cont(self) -> None:
        """Let a frozen process go on."""
        self.kill(signal.SIGCONT)

    def terminate(self, within: float = 10.0) -> int:
        """Send SIGTERM and return the exit code."""
        self.kill(signal.SIGTERM)
        return self.process.wait(within)

    @property
    def running(self) -> bool:
        """Whether it runs (a stopped one counts)."""
        return is_running(self.pid)

    def close(self) -> None:
        """End it, whatever it does."""
        self.kill()
        self.folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Backend(Proc):
    """A demo target (`python -m backends`) as a process; `restart` keeps its port."""

    def __init__(self, name: str, zone: str = "", port: int = 0, args: Sequence[str] = ()) -> None:
        self.name, self.zone, self.args, self.port = name, zone, list(args), port
        super().__init__(self._argv())
        self._wait()

    def _argv(self) -> list[str]:
        argv = [sys.executable, "-m", "backends", "--port", str(self.port), "--name", self.name]
        return argv + (["--zone", self.zone] if self.zone else []) + self.args

    def _wait(self) -> None:
        def line() -> dict[str, Any] | None:
            if self.process.poll() is not None:
                raise AssertionError(f"the backend ended with {self.process.returncode}: {self.err.read_text()}")
            text = self.out.read_text()
            return json.loads(text.splitlines()[-1]) if text.endswith("\n") else None

        self.port = int(wait_for(line, 15.0, f"the first line of backend {self.name}")["port"])

    @property
    def address(self) -> str:
        """`host:port`, as the configuration writes it."""
        return f"127.0.0.1:{self.port}"

    def restart(self) -> None:
        """Start it again on the port it had."""
        self.kill()
        self.out.write_bytes(b"")
        self.argv = self._argv()
        self._start()
        self._wait()
