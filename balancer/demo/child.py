"""Child: a process of the demo's own, in a process group of its own, that ends when the demo does, whatever happens."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1  # Source: prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True)  # before the fork: nothing may be imported after it


class Child:
    """A Python program `python -m …` that runs. Start it from the main thread: the kernel watches that thread."""

    def __init__(
        self,
        arguments: list[str],
        *,
        home: Path,
        out: int | IO[bytes],
        errors: IO[bytes],
        environment: Mapping[str, str],
        at_our_end: signal.Signals,
    ) -> None:
        """`home`: the folder its package lies in; `at_our_end`: what the kernel sends it should this process die."""
        paths = [str(home), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)},
            process_group=0,  # Ctrl-C is for the demo alone: it ends its children in order
            preexec_fn=_ends_with_parent(at_our_end),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def out(self) -> IO[bytes]:
        """What it prints, if `out` was `PIPE`."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def exit_code(self) -> int | None:
        """None while it runs, else its exit code, negative for a signal."""
        return self._process.poll()

    @property
    def frozen(self) -> bool:
        """Whether somebody has stopped it with SIGSTOP."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"  # Source: proc_pid_stat(5)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, with everything in its process group."""
        if self.exit_code is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def _ends_with_parent(number: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def tie() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked to be told
            os._exit(1)

    return tie


def died_of(code: int) -> str:
    """Return how a process ended, for people."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
