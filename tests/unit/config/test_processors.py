"""How many workers `auto` means."""

from __future__ import annotations

import pytest

from balancer.config.processors import cpus, usable

V2 = {"/proc/self/cgroup": "0::/\n"}
DEEP = {"/proc/self/cgroup": "0::/a/b\n"}
V1 = {"/proc/self/cgroup": "5:cpuset:/\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n"}


@pytest.mark.parametrize(
    ("claim", "affinity", "files", "count"),
    [
        ("no control groups", 8, {}, 8),
        ("no quota", 8, {**V2, "/sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ("two CPUs", 8, {**V2, "/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ("a part of a CPU counts as one", 8, {**V2, "/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ("half a CPU is one", 8, {**V2, "/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ("affinity is the smaller", 2, {**V2, "/sys/fs/cgroup/cpu.max": "400000 100000\n"}, 2),
        ("no CPU is still one", 0, {}, 1),
        ("the own group", 8, {**DEEP, "/sys/fs/cgroup/a/b/cpu.max": "300000 100000\n"}, 3),
        ("a group above it", 8, {**DEEP, "/sys/fs/cgroup/a/cpu.max": "200000 100000\n"}, 2),
        ("nonsense", 8, {**V2, "/sys/fs/cgroup/cpu.max": "much 0\n"}, 8),
        ("v1", 8, {**V1, "/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "200000\n",
                   "/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n"}, 2),
        ("v1 seen from inside", 8, {**V1, "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                                    "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 3),
        ("v1 without quota", 8, {**V1, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                                 "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_auto_means_what_may_be_used(claim: str, affinity: int, files: dict[str, str], count: int) -> None:
    assert usable(lambda: affinity, files.get) == count


def test_this_machine_has_at_least_one() -> None:
    assert cpus() >= 1
