"""`python -m tests.fuzz.engine TARGET SECONDS SEED FOLDER`: fuzz one target in this process.

Guided by coverage where atheris can be imported, else by mutation alone. Exit 0: nothing found in that time. What is
found lies in FOLDER as `crash-…` or `timeout-…`. The first line says how it went about it.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path

SLOW = 0.5  # seconds that one input of a few kilobytes may take, on a machine that has other things to do
LEAK = 2048  # MiB


def guided(name: str, seconds: int, seed: int, folder: Path) -> None:
    """Run libFuzzer; it ends the process."""
    import atheris  # (only where it is installed)

    with atheris.instrument_imports(include=["balancer", "yaml"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for number, (_, data) in enumerate(target.inputs()):
        (corpus / f"{number:04}").write_bytes(data[: target.longest])
    words = folder / "words"
    words.write_text("".join(f'"{word}"\n' for word in target.words))
    options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={target.longest}", "-timeout=10"]
    options += [f"-artifact_prefix={folder}/", f"-rss_limit_mb={LEAK}", "-print_final_stats=1", "-verbosity=0"]
    options += [f"-dict={words}"] if target.words else []
    print(f"{name}: guided by coverage (atheris)", flush=True)
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.hold)
    atheris.Fuzz()


def plain(name: str, seconds: float, seed: int, folder: Path, most: int = sys.maxsize) -> int:
    """Mutate the seeds for so long, or so often; return how many inputs were tried, raise what one of them raised."""
    from tests.fuzz.mutation import mutate
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    inputs = [data for _, data in target.inputs()]
    chance = random.Random(seed)
    end, tried = time.monotonic() + seconds, 0
    while time.monotonic() < end and tried < most:
        data = mutate(chance.choice(inputs), inputs, chance, target.longest)
        began = time.process_time()
        try:
            target.hold(data)
            assert time.process_time() - began < SLOW, f"{time.process_time() - began:.2f} s for {len(data)} bytes"
        except BaseException:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"crash-{sha256(data).hexdigest()[:16]}").write_bytes(data)
            raise
        tried += 1
    return tried


def main(name: str, seconds: str, seed: str, folder: str) -> int:
    """Fuzz; return the exit code."""
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    try:
        import atheris  # noqa: F401
    except ImportError:
        print(f"{name}: by mutation alone (no atheris here)", flush=True)
        try:
            print(f"{name}: {plain(name, float(seconds), int(seed), where)} inputs")
        except Exception:
            traceback.print_exc()
            return 77
        return 0
    guided(name, int(seconds), int(seed), where)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
