# `make run` and `make test` do all their own set-up; `make help` lists the rest.
#
# There is one way to build: the compiled modules are made inside src/ and .venv points there (`make dev`). Stamp files
# in .venv remember what is done, so that a second call is quick and an edited .pyx, .pxd or pyproject.toml is noticed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
COMPILED := $(shell find src -name '*.pyx' -o -name '*.pxd')
MODULES := $(shell cd src && find memagent -name '*.pyx' | sed 's/\.pyx$$//; s|/|.|g' | sort)
FUZZ_SECONDS ?= 60

.PHONY: help run test lint types bench sanitize coverage fuzz chaos service docs dist dev clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

run: dev  ## three memcached servers, two backups and the proxy on 127.0.0.1:12000, until Ctrl-C
	@exec $(PY) scripts/demo.py

test: dev  ## the whole suite, in three processes; ARGS="..." goes to pytest instead
	@scripts/system-packages test
	@scripts/memcached-1.6.38 >/dev/null
	@exec $(PY) -m pytest $(if $(ARGS),$(ARGS),-n 3 --dist worksteal)

dev: $(VENV)/.built  ## the environment and an up-to-date build in place

lint: $(VENV)/.packages  ## ruff, cython-lint, and no performance hint of Cython on the hot path
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint src
	scripts/performance-hints $(PY)

types: dev  ## mypy --strict, and the hand-written stubs against the compiled modules
	$(VENV)/bin/mypy
	$(PY) -m mypy.stubtest --mypy-config-file pyproject.toml --allowlist .ci/stubtest-allow $(MODULES)

bench: dev  ## memagent and its peers; PART=copies|faults|metrics|page|memory|core: what else bench/README.md has
	@scripts/system-packages bench
	@scripts/memcached-1.6.38 >/dev/null
	@exec $(PY) -m bench$(if $(PART),.$(PART)) $(ARGS)

sanitize: dev  ## unit and protocol tests on an ASan and UBSan build of its own
	@scripts/system-packages sanitize
	@exec scripts/sanitize $(PY) $(ARGS)

coverage: dev  ## lines covered, compiled modules included, in a traced build of its own
	@scripts/system-packages test
	@scripts/memcached-1.6.38 >/dev/null
	@exec scripts/coverage $(PY) $(ARGS)

fuzz: dev  ## coverage-guided fuzzing of both parsers; FUZZ_SECONDS=60 for each target
	@scripts/system-packages fuzz
	@exec scripts/fuzz $(PY) $(FUZZ_SECONDS) $(FUZZ_TARGETS)

chaos: dev  ## clients that know what may be true, servers that die; CHAOS_SECONDS=1800, CHAOS_SEED, CHAOS_WORKERS
	@scripts/system-packages test
	@scripts/memcached-1.6.38 >/dev/null
	@exec $(PY) -m tests.chaos

service:  ## contrib/systemd under a real systemd, as root; memagent must be in /opt/memagent
	@exec python3 scripts/service.py

docs: dev  ## the reference pages and the man page, from the tables and the commands
	$(PY) -m memagent.cli.reference docs/reference

dist: $(VENV)/.packages  ## sdist, and from it the wheel, in dist/
	$(PY) -c 'from setuptools import build_meta; build_meta.build_sdist("dist")'
	$(PY) -m pip wheel -q --no-build-isolation --no-deps -w dist dist/*.tar.gz

clean:  ## everything that can be made again
	rm -rf $(VENV) .cache build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +
	find src -name '*.so' -delete -o -name '*.c' -delete

# What pip brings. Debian's pip is too old for dependency groups, hence the newer one.
$(VENV)/.packages: pyproject.toml
	@scripts/system-packages run
	@test -x $(PY) || "$$(scripts/python)" -m venv $(VENV)
	@echo "Installing Python packages into $(VENV)"
	@$(PY) -m pip install -q --disable-pip-version-check 'pip>=25.1'
	@$(PY) scripts/requirements.py | $(PY) -m pip install -q --disable-pip-version-check -r /dev/stdin --group dev
	@touch $@

# The command and the metadata; this builds everything once.
$(VENV)/.installed: $(VENV)/.packages pyproject.toml
	@echo "Building the compiled modules"
	@mkdir -p .cache
	@$(PY) -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e . >.cache/build.log 2>&1 \
		|| { tail -n 40 .cache/build.log; exit 1; }
	@touch $@

# What changed since. Quiet unless it fails: a compiler's notes on generated C help nobody.
$(VENV)/.built: $(VENV)/.installed setup.py $(COMPILED)
	@scripts/system-packages run
	@mkdir -p .cache && touch $@.begun  # an edit while it builds is newer than this
	@$(PY) setup.py -q build_ext --inplace >.cache/build.log 2>&1 || { tail -n 40 .cache/build.log; exit 1; }
	@mv $@.begun $@
