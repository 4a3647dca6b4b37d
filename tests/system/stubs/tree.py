"""A real supervisor with stub children: `python -m tests.system.stubs.tree CONFIG`."""

from __future__ import annotations

import sys
from pathlib import Path

from balancer.process.supervisor import Supervisor

if __name__ == "__main__":
    stubs = {"control": "tests.system.stubs.control", "worker": "tests.system.stubs.worker"}
    sys.exit(Supervisor(Path(sys.argv[1]), **stubs).run())
