"""One slice by wrk, a generator that others wrote, spoken to as ours is: `ready`, then `go`, then a line of JSON.

    python wrk.py LOAD HOST PORT FILE KEY=VALUE…      # LOAD: our generator; the rest as c/load.c has it

wrk starts at once and has no warming up, so ours warms. What is under way when wrk ends is not counted as a request:
at most one for each connection.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SCRIPT = Path(__file__).resolve().with_suffix(".lua")


def main() -> int:
    """Return the exit code."""
    _load, host, port, file, *options = sys.argv[1:]
    given = dict(option.split("=", 1) for option in options)
    if subprocess.run([*sys.argv[1:], "seconds=0"], input=b"go\n", stdout=subprocess.DEVNULL).returncode != 0:
        return 1  # it has said why
    print("ready", flush=True)
    sys.stdin.readline()
    seconds = max(1, round(float(given["seconds"])))  # whole ones, to wrk
    command = ["wrk", "-t1", f"-c{given['connections']}", f"-d{seconds}s", "-s", str(_SCRIPT), f"http://{host}:{port}/"]
    done = subprocess.run([*command, "--", file], capture_output=True, text=True)
    if done.returncode != 0 or not done.stdout:
        print(f"wrk: {done.stderr.strip()}", file=sys.stderr)
        return 1
    found = json.loads(done.stdout.splitlines()[-1])
    # wrk counts what came in, heads and all, but does not look whether each answer is as long as it ought to be.
    found["bad"] += found["bytes"] < found["requests"] * int(given["expect"])
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
