"""The suites: how each is run against a port, and what it said, as plain values."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODES = {
    "slow heads": ("-H", "-i", "3"),
    "slow bodies": ("-B", "-i", "3", "-s", "8192"),
    "slow readers": ("-X", "-w", "1", "-y", "1", "-n", "5", "-z", "32"),
}
SLOW_CONNECTIONS, SLOW_SECONDS = 50, 20
ROUNDS = 3
CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.1.2", "10.*")  # of Autobahn


@dataclass(frozen=True, slots=True)
class Slow:
    """What slowhttptest saw: whether the service was there all the time, when the last slow connection was gone."""

    available: bool
    left: int  # slow connections at the end
    gone: int | None  # seconds; None: not within the run


def h1spec(deno: str, script: Path, port: int) -> dict[str, tuple[bool, str]]:
    """Return, for each case of h1spec, whether it passed and what was seen."""
    done = subprocess.run(
        [deno, "run", "--no-lock", "--allow-net", str(script), "127.0.0.1", str(port)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = {}
    for line in (done.stdout + done.stderr).splitlines():
        match = re.match(r"(✅|❌) ([^:]+): (.*)", line)
        if match:
            status = re.search(r"Status Code (-?\d+)", match[3])
            found[match[2]] = (match[1] == "✅", status[1] if status else match[3])
    assert found, done.stdout + done.stderr
    return found


def autobahn(wstest: str, ports: Mapping[str, int], folder: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return, for each server by name, the verdicts of each Autobahn case (`behavior/behaviorClose`) that it ever got.

    Some cases ask what came first, an echo or a close, and end now so, now so: each is run ROUNDS times.
    """
    rounds = [_autobahn_once(wstest, ports, folder / f"round-{number}") for number in range(ROUNDS)]
    return {
        name: {case: tuple(sorted({one[name][case] for one in rounds})) for case in cases}
        for name, cases in rounds[0].items()
    }


def _autobahn_once(wstest: str, ports: Mapping[str, int], folder: Path) -> dict[str, dict[str, str]]:
    folder.mkdir()
    servers = [{"agent": name, "url": f"ws://127.0.0.1:{port}"} for name, port in ports.items()]
    spec = {"outdir": str(folder / "reports"), "servers": servers, "cases": list(CASES)}
    file = folder / "fuzzingclient.json"
    file.write_text(json.dumps({**spec, "exclude-cases": [], "exclude-agent-cases": {}}))
    done = subprocess.run(
        [wstest, "-m", "fuzzingclient", "-s", str(file)], cwd=folder, capture_output=True, timeout=580
    )
    report = folder / "reports" / "index.json"
    assert report.exists(), done.stderr.decode(errors="replace")[-2000:]
    index: dict[str, dict[str, Any]] = json.loads(report.read_text())
    return {
        name: {case: f"{one['behavior']}/{one['behaviorClose']}" for case, one in cases.items()}
        for name, cases in index.items()
    }


def behaviours(cases: Mapping[str, tuple[str, ...]]) -> Counter[str]:
    """Count Autobahn's verdicts on behaviour; a case that ended in several ways counts as those."""
    return Counter(" or ".join(sorted({one.partition("/")[0] for one in verdicts})) for verdicts in cases.values())


def start_slow(mode: str, port: int, folder: Path, name: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a slow attack; the second is where its figures will lie."""
    prefix = folder / f"{name}-{mode.replace(' ', '-')}"
    argv = ["slowhttptest", *MODES[mode], "-c", str(SLOW_CONNECTIONS), "-r", str(SLOW_CONNECTIONS)]
    argv += ["-l", str(SLOW_SECONDS), "-p", "2", "-g", "-o", str(prefix), "-u", f"http://127.0.0.1:{port}/"]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), prefix.with_suffix(".csv")


def read_slow(figures: Path) -> Slow:
    """Return what slowhttptest wrote: a row a second with closed, pending and connected ones, and the service."""
    with figures.open() as file:
        rows: Sequence[dict[str, str]] = list(csv.DictReader(file))
    named = [{key.strip().lower(): value.strip() for key, value in row.items() if key} for row in rows]
    open_at = [(int(row["seconds"]), int(row["connected"]) + int(row["pending"])) for row in named]
    begun = next((at for at, count in open_at if count), 0)
    gone = next((at for at, count in open_at if at > begun and not count), None)
    if gone is None and open_at[-1][0] < SLOW_SECONDS - 1:
        gone = open_at[-1][0] + 1  # it ends as soon as none is left, and writes no row for that
    available = all(int(row["service available"]) > 0 for row in named)
    return Slow(available, 0 if gone is not None else open_at[-1][1], gone)


def schemathesis(program: str, address: str, folder: Path) -> tuple[bool, str]:
    """Return whether it found nothing, and its last lines, about the admin API that answers at `address`."""
    argv = [program, "--config-file", str(Path(__file__).with_name("schemathesis.toml"))]
    argv += ["run", f"http://{address}/api/v1/openapi.json", "--max-examples", "25", "--seed", "1"]
    done = subprocess.run([*argv, "--no-color"], cwd=folder, capture_output=True, text=True, timeout=300)
    return done.returncode == 0, done.stdout + done.stderr
