"""`python -m bench.slow`: 5,000 slow clients (heads, bodies, readers) attack from the other core: who notices?

    python -m bench.slow          # exit 1 when the good client's p99 is over 2 x its quiet figure and over 5 ms more,
                                  # or the worker grows beyond the bound
    python -m bench.slow nginx    # the same attack on nginx in our place: what this machine makes of it

Under 80 s each.
"""

from __future__ import annotations

import sys

from bench.besieged import (
    MIB,
    Horde,
    cpu_seconds,
    good_client,
    pace,
    resident_bytes,
    scene,
    scene_of_nginx,
    stands,
    told,
)

CLIENTS = 5000
GROWN = 256 * MIB  # of the worker: 50 KiB for each
TARGETS = 4  # each takes 1,024 connections unless told otherwise


def besiege(address: tuple[str, int], worker: int) -> bool:
    """Attack, tell what it did, and return whether the good client was served as before, in bounded memory."""
    good_client(address, 2.0)
    quiet = good_client(address, 10.0)
    before = resident_bytes(worker)
    print(f"quiet:  {told(quiet)}", flush=True)
    with Horde("slow", address, CLIENTS) as horde:
        for _ in range(100):
            if horde.counts()["open"] >= CLIENTS * 0.9:
                break
            pace(0.1)
        print(f"attack: {horde.counts()}", flush=True)
        used = cpu_seconds(worker)
        attacked = good_client(address, 20.0)
        used = cpu_seconds(worker) - used
        most = resident_bytes(worker)
        print(f"under:  {told(attacked)}")
        print(f"        {horde.counts()}")
        print(f"        worker {before / MIB:.1f} -> {most / MIB:.1f} MiB, {used / 20:.0%} of a core")
    return stands(quiet, attacked) and most - before < GROWN


def main() -> int:
    """Measure and tell."""
    if sys.argv[1:] == ["nginx"]:
        with scene_of_nginx(TARGETS) as (address, worker):
            well = besiege(address, worker)
    else:
        with scene(TARGETS) as balancer:
            worker = balancer.worker_pids()[0]
            well = besiege(balancer.address(), worker)
            failures = balancer.metrics().by("reason", "failures_total")
            reasons = {word: round(count) for word, count in failures.items() if count}
            print(f"let go: {reasons}")
            pace(3.0)
            print(f"after:  worker {resident_bytes(worker) / MIB:.1f} MiB")
    print("the good client is served as before" if well else "THE GOOD CLIENT IS NOT SERVED AS BEFORE")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
