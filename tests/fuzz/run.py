"""`make fuzz`: every target for so many seconds, one after the other; what is found is kept, and the exit code says so.

    FUZZ_SECONDS=60     for each target
    FUZZ_TARGETS=a,b    only these
    FUZZ_SEED=1         else drawn, and printed
    FUZZ_TOOLS=folder   where atheris is, or is put (.venv/fuzz)

atheris (libFuzzer for Python) is installed beside the virtualenv when a wheel for this Python exists; without it the
targets run by mutation alone. A crash is copied into `tests/fuzz/corpus/TARGET`, where `make test` replays it.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from tests.fuzz.targets import CORPUS, TARGETS
from tests.support.process import ROOT

BESIDE = Path(os.environ.get("FUZZ_TOOLS") or Path(sys.prefix) / "fuzz")  # beside the locked virtualenv, not in it
WANTED = "atheris>=2.3,<4"


def provide() -> bool:
    """Install atheris beside the virtualenv, unless it is there; return whether it can be imported."""
    if _importable():
        return True
    uv = shutil.which("uv")
    install = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    wheels = ["--no-deps", "--only-binary", "atheris"]
    done = subprocess.run(
        [*install, "--quiet", *wheels, "--target", str(BESIDE), WANTED], capture_output=True, text=True
    )
    if done.returncode == 0 and _importable():
        return True
    why = (done.stderr.strip() or "it was installed and cannot be imported").splitlines()[-1]
    print(f"no coverage guidance: atheris cannot be had for this Python ({why}); mutating the seeds instead")
    return False


def _importable() -> bool:
    done = subprocess.run([sys.executable, "-c", "import atheris"], env=_environment(), capture_output=True)
    return done.returncode == 0


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(BESIDE))), "PYTHONHASHSEED": "0"}


def fuzz(name: str, seconds: int, seed: int) -> bool:
    """Fuzz one target; return whether it held."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        argv = [sys.executable, "-m", "tests.fuzz.engine", name, str(seconds), str(seed), folder]
        done = subprocess.run(argv, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = done.stdout.decode(errors="replace")
        found = [file for file in Path(folder).iterdir() if re.match(r"(crash|timeout|oom|leak)-", file.name)]
        if done.returncode == 0 and not found:
            executed = re.search(r"number_of_executed_units: (\d+)|(\d+) inputs$", said, re.MULTILINE)
            count = next(filter(None, executed.groups()), "?") if executed else "?"
            how = "guided by coverage" if "guided" in said else "by mutation"
            print(f"{name}: held for {seconds} s, {count} inputs {how}", flush=True)
            return True
        print(said[-6000:])
        for file in found:
            kept = CORPUS / name / f"found-{sha256(file.read_bytes()).hexdigest()[:12]}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, kept)
            print(f"{name}: DOES NOT HOLD for {kept.relative_to(ROOT)}: {file.read_bytes()[:200]!r}")
        return False


def main() -> int:
    """Fuzz every target; return 1 if one did not hold."""
    seconds = int(os.environ.get("FUZZ_SECONDS") or 60)
    seed = int(os.environ.get("FUZZ_SEED") or random.randrange(1, 2**31))
    names = (os.environ.get("FUZZ_TARGETS") or ",".join(TARGETS)).split(",")
    if unknown := set(names) - set(TARGETS):
        print(f"no target {', '.join(sorted(unknown))} (there are {', '.join(TARGETS)})", file=sys.stderr)
        return 2
    provide()
    print(f"seed {seed}, {seconds} s for each of {len(names)} targets", flush=True)
    return 0 if False not in [fuzz(name, seconds, seed) for name in names] else 1


if __name__ == "__main__":
    sys.exit(main())
