"""`make conformance`: suites that others wrote against ours, HAProxy and nginx; writes `docs/conformance.md`.

    H1SPEC=folder     a checkout of uNetworking/h1spec (or its http_test.ts); left out: h1spec is not run
    DENO=program      runs it; else `deno` on the PATH, else npm installs it beside the virtualenv
    WSTEST=program    Autobahn's wstest (Python 2.7: autobahntestsuite 0.8.2); left out: Autobahn is not run
    OUT=file          where the page is written (docs/conformance.md)

slowhttptest, HAProxy and nginx come from Debian's packages, schemathesis from the Python registry into a virtualenv of
its own. Exit 1 when ours does not do what it should; a suite that is left out is said to be, on the page, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import needs
from tests.conformance import page, suites
from tests.conformance.peers import Peer, running
from tests.support.faults import quiet_port
from tests.support.process import ROOT, Proc
from tests.support.raw import ask, request
from tests.support.waiting import wait_for

BESIDE = Path(os.environ.get("CONFORMANCE_TOOLS") or Path(sys.prefix) / "conformance")
SCHEMATHESIS = "schemathesis>=4,<5"


def deno() -> str | None:
    """Return a deno: named, found, or installed by npm."""
    named = os.environ.get("DENO") or shutil.which("deno")
    if named:
        return named
    program = BESIDE / "node_modules" / ".bin" / "deno"
    if not program.exists() and shutil.which("npm"):
        BESIDE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", str(BESIDE), "deno"], check=False)
    return str(program) if program.exists() else None


def schemathesis() -> str | None:
    """Return a schemathesis, installed into a virtualenv of its own, so that it shares nothing with ours."""
    folder = BESIDE / "schemathesis"
    program = folder / "bin" / "schemathesis"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=False)
        subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", SCHEMATHESIS], check=False)
    return str(program) if program.exists() else None


def echo(kind: str, port: int) -> Proc:
    """Start an upstream of the suites."""
    process = Proc([sys.executable, "-m", "tests.conformance.echoes", kind, str(port)])

    def answers() -> bool:
        try:
            return ask(("127.0.0.1", port), request("GET", "/", "Connection: close"), 1.0).status > 0
        except OSError:
            return False

    wait_for(answers, 20.0, f"the {kind} echo answers")
    return process


def run_h1spec(peers: dict[str, Peer], web: int, results: page.Results) -> None:
    """Run h1spec against the echo itself and each peer."""
    place = Path(os.environ.get("H1SPEC") or "-")
    script = place / "http_test.ts" if place.is_dir() else place
    program = deno()
    if not script.is_file() or program is None:
        results.left_out["h1spec"] = "no H1SPEC was given" if program else "there is no deno and no npm"
        return
    ports = {name: one.port for name, one in peers.items()} | {"direct": web}
    results.h1spec = {name: suites.h1spec(program, script, port) for name, port in ports.items()}


def run_autobahn(peers: dict[str, Peer], socket: int, folder: Path, results: page.Results) -> None:
    """Run Autobahn's cases directly and through each peer."""
    wstest = os.environ.get("WSTEST") or shutil.which("wstest")
    if not wstest:
        results.left_out["Autobahn"] = (
            "no WSTEST was given; tests/wire/test_frames.py holds that a tunnel changes no byte"
        )
        return
    ports = {"direct": socket} | {name: one.ws_port for name, one in peers.items()}
    results.autobahn = suites.autobahn(wstest, ports, folder)


def run_slow(peers: dict[str, Peer], folder: Path, results: page.Results) -> None:
    """Attack each peer in the three slow ways, all at the same time: they cost nothing."""
    begun = {
        (name, mode): suites.start_slow(mode, one.port, folder, name)
        for name, one in peers.items()
        for mode in suites.MODES
    }
    for (name, mode), (process, figures) in begun.items():
        process.wait(suites.SLOW_SECONDS * 3)
        results.slow[name, mode] = suites.read_slow(figures)


def run_schemathesis(results: page.Results) -> None:
    """Try the admin API of a balancer that serves nobody."""
    from tests.support.balancer import Balancer
    from tests.support.configs import simple

    program = schemathesis()
    if program is None:
        results.left_out["schemathesis"] = "it cannot be installed"
        return
    with tempfile.TemporaryDirectory() as scratch, Balancer(simple("127.0.0.1:9")) as balancer:
        host, port = balancer.admin
        results.schemathesis = suites.schemathesis(program, f"{host}:{port}", Path(scratch))
        balancer.check_log()


def main() -> int:
    """Run everything that can be, write the page, and say what does not hold."""
    try:
        needs.provide(["nginx", "haproxy", "slowhttptest"])
    except needs.Lacking as lacking:
        print(f"conformance: {lacking}", file=sys.stderr)
        return 1
    results = page.Results()
    web, socket = quiet_port(), quiet_port()
    with (
        tempfile.TemporaryDirectory(prefix="conformance-") as scratch,
        echo("web", web),
        echo("socket", socket),
        running(web, socket, Path(scratch)) as peers,
    ):
        results.versions = {name: one.version for name, one in peers.items()}
        parts: tuple[tuple[str, Callable[[], None]], ...] = (
            ("h1spec", lambda: run_h1spec(peers, web, results)),
            ("Autobahn", lambda: run_autobahn(peers, socket, Path(scratch), results)),
            ("slowhttptest", lambda: run_slow(peers, Path(scratch), results)),
        )
        for name, part in parts:
            print(f"{name} …", flush=True)
            part()
    print("schemathesis …", flush=True)
    run_schemathesis(results)
    out = Path(os.environ.get("OUT") or ROOT / "docs" / "conformance.md")
    out.write_text(page.written(results))
    print(page.summary(results))
    wrong = page.faults(results)
    for one in wrong:
        print(f"DOES NOT HOLD: {one}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
