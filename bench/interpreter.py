"""Which Python this is: version, compiler, and whether a profile guided its build, as far as that can be known.

python bench/interpreter.py     # the one that runs it, as JSON
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path

GUIDED, PLAIN, UNKNOWN = "profile-guided", "not profile-guided", "profile-guided or not: unknown"
_FLAGS = ("PY_CFLAGS", "PY_CFLAGS_NODIST", "PY_CORE_CFLAGS", "CONFIGURE_CFLAGS_NODIST", "OPT")
_USES_PROFILE = ("-fprofile-use", "-fprofile-instr-use", "-fauto-profile")
_DEBIAN_GUIDES = ("x86_64", "aarch64")  # Source: changelog.Debian of python3.8, 3.8.0~b2-3 and 3.8.0~b3-1


@dataclass(frozen=True, slots=True)
class About:
    """A Python. `base`: the program itself, not that of an environment; `abi`: which compiled modules fit it."""

    key: str  # everything that an instruction count depends on, in words
    guided: str
    abi: str
    base: str

    @property
    def version(self) -> tuple[int, ...]:
        """Return major and minor."""
        return tuple(map(int, self.key.split(".")[:2]))


def this() -> About:
    """Return what is known of the interpreter that runs this."""
    debian = "deb_system" in sysconfig.get_scheme_names()
    guided = judge(_variable("CONFIG_ARGS"), " ".join(map(_variable, _FLAGS)), sys.base_prefix, debian)
    levels = re.findall(r"(?<!\S)-O\S+", _variable("PY_CFLAGS"))
    built = [platform.python_compiler(), *levels[-1:]]
    built += ["shared"] * _is_shared() + ["debug"] * bool(sysconfig.get_config_var("Py_DEBUG"))
    key = f"{platform.python_version()} {platform.machine()}, {' '.join(built)}, {guided}"
    return About(key, guided, _variable("SOABI"), getattr(sys, "_base_executable", sys.executable))


def of(python: str) -> About | None:
    """Return what is known of another interpreter; None where there is none that can make environments."""
    command = [python, "-c", "import ssl, venv, runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", __file__]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return About(**json.loads(done.stdout)) if done.returncode == 0 else None


def judge(configured: str, flags: str, prefix: str, debian: bool, machine: str = platform.machine()) -> str:
    """Return GUIDED, PLAIN or UNKNOWN by what the build says of itself; `debian`: Debian's package or one like it."""
    if "--enable-optimizations" in configured or any(flag in flags for flag in _USES_PROFILE):
        return GUIDED
    if debian:
        # It is built by `make profile-opt`, and sysconfig is cleaned of the flags (3.8.0~b3-1, bug 934771).
        return GUIDED if machine in _DEBIAN_GUIDES else UNKNOWN
    # Other distributors may do the same; who compiles one of his own is taken at his word.
    return PLAIN if configured and prefix != "/usr" else UNKNOWN


def _variable(name: str) -> str:
    return str(sysconfig.get_config_var(name) or "")


def _is_shared() -> bool:
    """Return whether the interpreter is a library here: calls into it then take a detour."""
    maps = Path("/proc/self/maps")
    return maps.exists() and "/libpython" in maps.read_text()


if __name__ == "__main__":
    print(json.dumps(asdict(this())))
