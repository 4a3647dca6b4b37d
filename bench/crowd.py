"""`python -m bench.crowd`: 10,000 idle keep-alive clients: what each costs, and what it costs the others. Under 80 s.

Exit 1 when one costs a worker more than 12 KiB, or the good client is not served as before.
"""

from __future__ import annotations

import sys

from bench.besieged import MIB, Horde, good_client, idle_cpu, resident_bytes, scene, stands, told, wait_for

CLIENTS = 10_000
EACH = 12 * 1024  # bytes


def main() -> int:
    """Measure and tell."""
    with scene(2) as balancer:
        address, worker = balancer.address(), balancer.worker_pids()[0]
        good_client(address, 2.0)
        quiet = good_client(address, 10.0)
        print(f"alone:  {told(quiet)}, idle worker uses {idle_cpu(worker):.1%} of a core", flush=True)
        before = resident_bytes(worker)
        with Horde("idle", address, CLIENTS) as horde:
            wait_for(lambda: horde.counts()["open"] >= CLIENTS, 40, lambda: f"all are there: {horde.counts()}")
            after = resident_bytes(worker)
            each = (after - before) / CLIENTS
            print(f"memory: {before / MIB:.1f} -> {after / MIB:.1f} MiB, {each / 1024:.2f} KiB for each of {CLIENTS}")
            print(f"        the worker uses {idle_cpu(worker):.1%} of a core for them", flush=True)
            crowded = good_client(address, 10.0)
            print(f"crowd:  {told(crowded)}; {horde.counts()}")
        well = stands(quiet, crowded) and each <= EACH
        print("within bounds" if well else "NOT WITHIN BOUNDS")
        return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
