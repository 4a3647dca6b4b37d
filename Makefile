# make demo     the main job on this machine, without Docker
# make test     everything that must hold: lint, types, imports, and every test
# make lint     style, types and the direction of imports
# make guard    instructions a request, held to the record (within 7 %); make record: they are the record from now on
# make bench    CPU, requests/s and latency, interpreted and compiled, beside nginx, HAProxy and Caddy
#               (make bench BENCH="--cases zipf": one case)
# make bench-scale  control with 10,000 targets and 5,000 rules, each figure beside its target
# make bench-slow  5,000 slow clients attack, 10,000 idle ones are there: what a good one notices, what each costs
# make build-fast       a wheel whose data path is compiled by mypyc, in dist/, and .venv-fast with it installed (needs gcc)
# make test-fast-build  the tests of the data path, and whole processes, with that wheel in the place of the source
# make soak     the long runs
# make chaos    fifteen minutes of mixed faults under load (CHAOS_SECONDS=, CHAOS_SEED=)
# make fuzz     any bytes at parsers, loader and matchers, guided by coverage (FUZZ_SECONDS=60 for each target)
# make fuzz-wire  fuzzed bytes at two running workers (FUZZ_SECONDS=600)
# make conformance  suites that others wrote, ours beside HAProxy and nginx; writes docs/conformance.md (H1SPEC=, WSTEST=)
# make lock     the lock files anew from pyproject.toml (make lock UPGRADE=1: with newer versions)
# make clean    remove everything that make made
#
# Each sets up .venv by itself; needed are Python >= 3.11 with venv, and make. Docker tests are skipped, with the reason,
# where no Docker answers.

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
# A test run must not find a proxy, an admin address or a job server in the environment of the one who runs it.
PYTEST := env -u BALANCER_ADMIN -u http_proxy -u HTTP_PROXY -u MAKEFLAGS -u MFLAGS $(BIN)/python -m pytest

# Most of these want the machine for themselves; those that mostly wait run side by side (test-processes).
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif
.PHONY: help demo test test-fast test-processes test-system test-compose lint format guard guard-here record build-fast test-fast-build bench bench-scale bench-slow soak chaos fuzz fuzz-wire conformance lock clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

$(READY): requirements.lock .ci/venv
	@sh .ci/venv

demo: $(READY)
	$(BIN)/balancer demo

test: lint test-fast guard-here test-processes

# Tests that may run side by side.
test-fast: $(READY)
	$(PYTEST) -n 3 --dist loadfile -m "not chaos and not soak" tests --ignore tests/compose

# Both at once, each told when it is over: most of their time they wait for something to be noticed.
test-processes: $(READY)
	+@$(MAKE) --no-print-directory --jobs 2 --output-sync=target SIDE_BY_SIDE=1 test-system test-compose

# Whole process trees under load and faults.
test-system: $(READY)
	$(PYTEST) -n 2 --dist loadfile -m "chaos and not soak" tests/system

# The compose file as it stands.
test-compose: $(READY)
	$(PYTEST) tests/compose

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -c 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())'

format: $(READY)
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

# What a request costs in instructions, so that a busy machine may be asked: about half a minute.
guard: $(READY)
	$(BIN)/python -m bench.instructions

# In `make test`: skipped, with the reason, where valgrind neither is nor can be installed.
guard-here: $(READY)
	$(BIN)/python -m bench.instructions --or-skip

# Also with the interpreter of `make bench`, where that has been run.
record: $(READY)
	for python in $(BIN)/python $(wildcard bench/.tools/python/bin/python); do $$python -m bench.instructions --record || exit 1; done

# The compiled build: the same source, beside which the wheel carries machine code. Its environment is made with the
# interpreter of .venv. The tests run in a copy of this folder in which `balancer` is what the wheel holds.
FAST := .venv-fast
TREE := build/compiled
FAST_TESTS ?= tests/unit/data tests/unit/picking tests/property tests/wire tests/system/test_processes.py
SOURCES := $(shell find balancer -name '*.py') pyproject.toml hatch_build.py requirements-compile.lock requirements-run.lock

build-fast: $(FAST)/.ready

$(FAST)/.ready: $(READY) $(SOURCES)
	rm -rf $(FAST) dist/balancer-*.whl
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	$(BIN)/python -m venv --without-pip $(FAST)
	$(BIN)/python -m venv --without-pip build/compiler
	$(BIN)/python -m pip -q --python build/compiler/bin/python install --require-hashes -r requirements-compile.lock
	$(BIN)/python -m pip -q --python $(FAST)/bin/python install --require-hashes -r requirements-run.lock
	HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 build/compiler/bin/python -m hatchling build -t wheel
	$(BIN)/python -m pip -q --python $(FAST)/bin/python install --no-deps --no-index dist/balancer-*.whl
	$(FAST)/bin/balancer --version
	@touch $@

test-fast-build: build-fast
	rm -rf $(TREE) && mkdir -p $(TREE)
	tar -cf - --exclude=./balancer --exclude='./.venv*' --exclude=./.git --exclude=./build --exclude=./dist . | tar -xf - -C $(TREE)
	$(BIN)/python -m zipfile -e dist/balancer-*.whl $(TREE)
	cd $(TREE) && $(CURDIR)/$(BIN)/python -c 'import balancer, sys; sys.exit(not balancer.compiled())'
	cd $(TREE) && env -u BALANCER_ADMIN -u http_proxy -u HTTP_PROXY PYTHONPATH=$(CURDIR)/$(TREE) \
	  $(CURDIR)/$(BIN)/python -m pytest -m "not chaos and not soak" $(FAST_TESTS)

bench: $(READY)
	$(BIN)/python bench/run.py $(BENCH)

bench-scale: $(READY)
	$(BIN)/python bench/scale.py $(BENCH)

# Slow clients that attack, and very many that only are there.
bench-slow: $(READY)
	$(BIN)/python -m bench.slow
	$(BIN)/python -m bench.crowd

soak: $(READY)
	$(PYTEST) -m soak tests/system

chaos: $(READY)
	$(BIN)/python -m tests.system.chaos.run

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz.run

fuzz-wire: $(READY)
	$(BIN)/python -m tests.fuzz.live

conformance: $(READY)
	$(BIN)/python -m tests.conformance.run

# No lock names a host. The four small ones are held to the versions of the big one.
LOCK := pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11
UV := $(shell command -v uv || echo $(BIN)/uv)

lock: $(READY)
	@test -x "$(UV)" || $(BIN)/python -m pip install --quiet uv
	$(UV) $(LOCK) $(if $(UPGRADE),--upgrade) --extra dev pyproject.toml -o requirements.lock
	$(UV) $(LOCK) --upgrade -c requirements.lock pyproject.toml -o requirements-run.lock
	echo 'hatchling>=1.25' | $(UV) $(LOCK) $(if $(UPGRADE),--upgrade) -c requirements.lock - -o requirements-build.lock
	printf 'hatchling>=1.25\nmypy>=2.4\nsetuptools>=75\n' | $(UV) $(LOCK) --upgrade -c requirements.lock -c requirements-build.lock - -o requirements-compile.lock
	printf 'aiohttp\nuvloop\n' | $(UV) $(LOCK) --upgrade -c requirements.lock - -o backends/requirements.lock
	@! grep -n '://' requirements*.lock backends/requirements.lock

clean:
	rm -rf $(VENV) $(FAST) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
