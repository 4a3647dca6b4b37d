"""Whether a profile guided the build of a Python, by what the build says of itself."""

import sys

import pytest

from bench.interpreter import GUIDED, PLAIN, UNKNOWN, judge, of, this


@pytest.mark.parametrize(
    ("configured", "flags", "prefix", "debian", "machine", "said"),
    [
        pytest.param("'--enable-optimizations' '--with-lto'", "", "/usr/local", False, "x86_64", GUIDED, id="docker"),
        pytest.param("'--prefix=/usr'", "-O2 -fprofile-use -flto", "/usr", False, "x86_64", GUIDED, id="by its flags"),
        pytest.param("'--prefix=/usr'", "-O2", "/usr", True, "x86_64", GUIDED, id="debian"),
        pytest.param("'--prefix=/usr'", "-O2", "/usr", True, "riscv64", UNKNOWN, id="debian, another machine"),
        pytest.param("'--prefix=/usr'", "-O2", "/usr", False, "x86_64", UNKNOWN, id="another distribution"),
        pytest.param("'--prefix=/home/me/3.11'", "-O3", "/home/me/3.11", False, "x86_64", PLAIN, id="pyenv"),
        pytest.param("", "", "/opt/python", False, "x86_64", UNKNOWN, id="says nothing"),
    ],
)
def test_what_a_build_says(configured: str, flags: str, prefix: str, debian: bool, machine: str, said: str) -> None:
    assert judge(configured, flags, prefix, debian, machine) == said


def test_an_interpreter_tells_of_itself_what_others_read_of_it() -> None:
    told = of(sys.executable)
    assert told is not None
    assert (told.key, told.abi) == (this().key, this().abi)
    assert told.key.startswith(f"{sys.version.split()[0]} ")


def test_what_is_no_interpreter_is_none() -> None:
    assert of("/no/such/python") is None
