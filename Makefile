# `make demo` and `make test` need Python 3.11+ and make; everything else is installed into .venv from the lock files.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
BENCH := $(VENV)/bench
# One peer of the feeds, cryptofeed 3, needs 3.13: it is left out, and said to be, where only an older Python is.
BENCH_PYTHON ?= $(shell python3.13 -c '' 2>/dev/null && echo python3.13 || echo $(PYTHON))
FUZZ := $(VENV)/fuzz
FUZZ_SECONDS ?= 60
LOCK := uv pip compile pyproject.toml requirements/build.in --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test check nojit validate bench fuzz fmt kafka lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.demo  ## watch order books stream from a websocket through Kafka to signals (loopback, two minutes)
	$(RUN)/airpocket demo

test: $(VENV)/.dev  ## run the whole suite (Apache Kafka too, where java and mvn are)
	$(RUN)/pytest

check: $(VENV)/.dev  ## formatting, lint, types, generated documents
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/python -m engine.contract --check docs

nojit: $(VENV)/.dev  ## run the suite with every kernel as plain Python
	NUMBA_DISABLE_JIT=1 $(RUN)/pytest -m "not broker"

validate: $(VENV)/.dev  ## set the signals against simulated markets whose truth is known (half an hour)
	$(RUN)/python -m tests.validation

bench: $(BENCH)/.bench  ## measure every stage beside its peers, in an environment of its own (BENCH_QUICK=1: a look)
	$(BENCH)/bin/python -m pytest benchmarks --benchmark-only --benchmark-columns=median,iqr,rounds --benchmark-sort=name

fuzz: $(FUZZ)/.fuzz  ## fuzz every venue's decoder, guided by coverage where that can be (FUZZ_SECONDS=60 each)
	$(FUZZ)/bin/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

fmt: $(VENV)/.dev  ## format and sort imports
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

kafka: $(VENV)/.demo  ## run Apache Kafka on loopback (needs JDK 17+ and Maven)
	$(RUN)/python -m airpocket.apache

lock:  ## resolve the dependencies anew (needs uv)
	$(LOCK) --extra dev --output-file requirements/dev.lock
	$(LOCK) --extra bench --output-file requirements/bench.lock
	$(LOCK) --extra fuzz --constraint requirements/dev.lock --output-file requirements/fuzz.lock
	$(LOCK) --extra demo --constraint requirements/dev.lock --output-file requirements/demo.lock

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) .kafka .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11: say which Python to use, make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The peers need an older numpy than we are tested with.
$(BENCH)/bin/python:
	$(BENCH_PYTHON) -m venv $(BENCH)

$(BENCH)/.bench: $(BENCH)/bin/python requirements/bench.lock pyproject.toml
	$(BENCH)/bin/pip install --quiet --require-hashes -r requirements/bench.lock
	$(BENCH)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# What guides it has no wheel for some systems and Pythons: without it the fuzzing is blind, and says so.
$(FUZZ)/.fuzz: requirements/fuzz.lock requirements/demo.lock pyproject.toml
	$(PYTHON) -m venv $(FUZZ)
	$(FUZZ)/bin/pip install --quiet --require-hashes -r requirements/fuzz.lock || \
		$(FUZZ)/bin/pip install --quiet --require-hashes -r requirements/demo.lock
	$(FUZZ)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.demo: $(VENV)/bin/python requirements/demo.lock pyproject.toml
	@test -e $(VENV)/.dev || $(RUN)/pip install --quiet --require-hashes -r requirements/demo.lock
	$(RUN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python requirements/dev.lock requirements/recordings.lock pyproject.toml
	$(RUN)/pip install --quiet --require-hashes -r requirements/dev.lock
	$(RUN)/pip install --quiet --require-hashes --no-deps -r requirements/recordings.lock
	$(RUN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
