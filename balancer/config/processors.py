"""How many CPUs this process may use: affinity, bounded by the quota of its control groups (v2 and v1)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

_V2_ROOT = PurePosixPath("/sys/fs/cgroup")
_V1_ROOTS = (PurePosixPath("/sys/fs/cgroup/cpu"), PurePosixPath("/sys/fs/cgroup/cpu,cpuacct"))


def usable(affinity: Callable[[], int], read: Callable[[str], str | None]) -> int:
    """Return the number of CPUs, at least 1; a part of a CPU counts as one.

    `read` returns the text of a file, or None if there is none.
    """
    quotas = [quota for quota in _quotas(read) if quota > 0]
    smallest = min(quotas, default=float("inf"))
    bound = affinity() if smallest == float("inf") else min(affinity(), -int(-smallest // 1))
    return max(1, bound)


def cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return usable(_affinity, _read)


def _quotas(read: Callable[[str], str | None]) -> Iterator[float]:
    paths = {"": "/"}  # controller → our group; "" is v2
    for line in (read("/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths |= dict.fromkeys(controllers.split(","), path)
    for folder in _upwards(_V2_ROOT, paths[""]):
        quota, _, period = (read(f"{folder}/cpu.max") or "").strip().partition(" ")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            yield int(quota) / int(period)
    for root in _V1_ROOTS:
        for folder in _upwards(root, paths.get("cpu", "/")):
            quota = (read(f"{folder}/cpu.cfs_quota_us") or "").strip()
            period = (read(f"{folder}/cpu.cfs_period_us") or "").strip()
            if quota.isdigit() and period.isdigit() and int(period) > 0:
                yield int(quota) / int(period)


def _upwards(root: PurePosixPath, path: str) -> Iterator[PurePosixPath]:
    """Yield our group's folder and all above it: the smallest quota of them counts."""
    here = PurePosixPath(path.lstrip("/"))
    for part in (here, *here.parents):
        yield root / part


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
