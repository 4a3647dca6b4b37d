"""What is read from the machine: its two cores, whether they are quiet, and what a process tree has used of them.

CPU time is taken from `/proc/PID/task/*/schedstat`: nanoseconds on the CPU, and nanoseconds that the task was ready and
had to wait for it. It shows a proxy's price even where the load generator is the limit; it is not immune to a host that
takes the core away and says nothing, so each slice begins with a look at how steadily both cores turn.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import interpreter

SPIN = 0.15  # seconds
GAP = 0.0001  # seconds between two looks at the clock that are somebody else's
DISTURBED = 0.06  # share of the spin that may be lost


class NoCores(Exception):
    """Fewer than two CPUs may be used."""


@dataclass(frozen=True, slots=True)
class Cores:
    """The CPU of the proxy under test, and that of the load and the origin."""

    proxy: int
    load: int


def cores() -> Cores:
    """Return the first two CPUs that this process may use; raises NoCores."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise NoCores("two CPUs are needed: one for the proxy, one for the load and the origin")
    return Cores(usable[0], usable[1])


def describe(python: str, root: Path) -> dict[str, str]:
    """Return what the figures depend on; `python`: the interpreter of ours, `root`: the work tree."""
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ":").partition(":")[2]
    total = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": f"{os.cpu_count()} x {model.strip() or platform.machine()}",
        "memory": f"{int(total) / 1024**2:.0f} GiB",
        "system": f"Linux {platform.release()}, {_system()}",
        "python": _python(python),
        "commit": _commit(root),
        "compiled": compiled(python, {"PYTHONPATH": str(root)}),
    }


_COMPILED = (
    "import balancer, pathlib; n = len([*pathlib.Path(balancer.__file__).parent.rglob('*.so')]); "
    "print(f'{n} modules by mypyc' if n else 'interpreted')"
)


def compiled(python: str, environment: dict[str, str]) -> str:
    """Return whether ours is compiled there, in words."""
    return _said([python, "-P", "-c", _COMPILED], environment) or "not there"


def _python(python: str) -> str:
    about = interpreter.of(python)
    return f"{about.key} ({about.base.replace(str(Path.home()), '~')})" if about else "unknown"


def _commit(root: Path) -> str:
    name = _said(["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"])
    changed = _said(["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"])
    return f"{name or 'unknown'}{' with changes' if changed else ''}"


def _system() -> str:
    words = dict(line.split("=", 1) for line in _lines("/etc/os-release") if "=" in line)
    return words.get("PRETTY_NAME", "unknown").strip('"')


def _said(command: list[str], environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | (environment or {}), cwd="/")
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# Quiet


class Patience:
    """The time a run has to wait for quiet, over all its slices; then they are measured as it is, and marked."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def wait_for_quiet(self, both: Cores) -> float:
        """Wait until both cores turn steadily; return the larger share lost in the last spin."""
        began = time.monotonic()
        while True:
            lost = max(_spin([both.proxy, both.load]))
            waited = time.monotonic() - began
            if lost <= DISTURBED or waited > self._left:
                self._left -= max(0.0, waited - SPIN)
                return lost
            time.sleep(0.3)


def _spin(numbers: list[int]) -> list[float]:
    """Spin on each core at the same time; return the share of the time that was lost there."""
    spinners = []
    for number in numbers:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.sched_setaffinity(0, {number})
            os.write(write, f"{_lost():.4f}".encode())
            os._exit(0)
        os.close(write)
        spinners.append((pid, read))
    shares = []
    for pid, read in spinners:
        shares.append(float(os.read(read, 64) or b"1"))
        os.close(read)
        os.waitpid(pid, 0)
    return shares


def _lost() -> float:
    clock = time.perf_counter
    last = start = clock()
    lost = 0.0
    while last - start < SPIN:
        now = clock()
        if now - last > GAP:
            lost += now - last
        last = now
    return lost / SPIN


# Process trees


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds on the CPU, and seconds ready but waiting for it."""

    cpu: float
    waited: float

    def since(self, before: Used) -> Used:
        """Return what was used from `before` on."""
        return Used(self.cpu - before.cpu, self.waited - before.waited)


def tree(root: int) -> list[int]:
    """Return the process `root` and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _text(entry / "stat")):
            parent = int(stat.rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def name(pid: int) -> str:
    """Return what a process calls itself, at most 15 characters; empty when it is gone."""
    return _text(Path(f"/proc/{pid}/comm")).strip()


def used(pids: list[int]) -> Used:
    """Return what these processes have used, over all their threads that live."""
    each = used_each(pids).values()
    return Used(sum(one.cpu for one in each), sum(one.waited for one in each))


def used_each(pids: list[int]) -> dict[int, Used]:
    """Return the same by process, or by thread where there is one process."""
    found: dict[int, Used] = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            fields = _text(task / "schedstat").split()
            if fields:
                key = int(task.name) if len(pids) == 1 else pid
                before = found.get(key, Used(0.0, 0.0))
                found[key] = Used(before.cpu + int(fields[0]) / 1e9, before.waited + int(fields[1]) / 1e9)
    return found


def resident(pids: list[int]) -> int:
    """Return the bytes that these processes hold in memory, what they share counted once (PSS)."""
    return sum(
        int(line.split()[1]) * 1024
        for pid in pids
        for line in _lines(f"/proc/{pid}/smaps_rollup")
        if line.startswith("Pss:")
    )


def rss(pid: int) -> int:
    """Return the resident set of one process in bytes."""
    return next((int(line.split()[1]) * 1024 for line in _lines(f"/proc/{pid}/status") if line[:6] == "VmRSS:"), 0)


def _lines(path: str) -> list[str]:
    return _text(Path(path)).splitlines()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return ""
