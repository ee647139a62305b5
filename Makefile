# Two commands on a fresh machine: `make demo` and `make test`. Only git, make and Python >= 3.11 are needed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO_ARGS ?=
PYTEST_ARGS ?=
SEEDS ?= 100
SIMULATE_ARGS ?=
BENCH_ARGS ?=
EFFORT ?= more

# Tests of hostile agents give the agent a user id of its own: as root, or in a user namespace where this machine can.
AS_ROOT = $(shell test "$$(id -u)" = 0 || { unshare --map-root-user --map-auto true 2>/dev/null && echo unshare --map-root-user --map-auto; })

.DEFAULT_GOAL := help
.PHONY: help demo test test-more test-postgresql simulate test-agent redteam eval lint check bench build run lock install install-dev clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Stamps make a second `make` quick; they are redone when a lock or the project file changes.
$(VENV)/.runtime: requirements/runtime.lock pyproject.toml | $(BIN)/python
	scripts/install.sh $(VENV) --require-hashes -r requirements/runtime.lock
	scripts/install.sh $(VENV) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.runtime
	scripts/install.sh $(VENV) --require-hashes -r requirements/dev.lock
	@touch $@

$(VENV)/.agent: requirements/agent.lock $(VENV)/.dev
	scripts/install.sh $(VENV) --require-hashes -r requirements/agent.lock
	@touch $@

install: $(VENV)/.runtime ## Install the product into .venv
install-dev: $(VENV)/.dev ## Install the product and the tools of its developers

demo: $(if $(findstring claude-code,$(DEMO_ARGS)),$(VENV)/.agent,install) ## Show the whole loop on a local GitHub (DEMO_ARGS=--once ends by itself)
	$(BIN)/tgs demo $(DEMO_ARGS)

run: install ## Start the bot (settings from the environment, see docs/operating.md)
	$(BIN)/tgs serve

test: install-dev ## Run all tests
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

test-more: install-dev ## Play longer what `make test` plays a sample of (EFFORT=all: everything, which takes hours)
	TGS_EFFORT=$(EFFORT) $(BIN)/python -m pytest -n auto --dist worksteal -m more $(PYTEST_ARGS)

test-postgresql: install-dev ## Play all scenarios on PostgreSQL (minutes; SQLite is what `make test` plays)
	TGS_TEST_DATABASE=postgresql $(BIN)/python -m pytest -q -n 2 --dist worksteal $(PYTEST_ARGS) tests/scenarios

test-agent: $(VENV)/.agent ## Test with the real agent program (installs it)
	TGS_REQUIRE_AGENT=1 $(AS_ROOT) $(BIN)/python -m pytest $(PYTEST_ARGS) tests/agent

redteam: install-dev ## Play all attacks by text and by bundle; print how far they got
	$(BIN)/python -m pytest -q -n auto $(PYTEST_ARGS) tests/redteam tests/worker/test_gate_refuses_hostile_bundles.py

eval: install-dev ## Small tasks for the agent (RUN_REAL_AGENT=1: the real one, with ANTHROPIC_API_KEY)
	$(BIN)/python -m pytest -q -s $(PYTEST_ARGS) tests/eval

lint: install-dev ## Style, types, layers, workflow files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_generated.py

check: test test-more test-agent lint ## Everything that must hold before a change lands

simulate: install ## Play histories against a model of GitHub (SEEDS=100, or SIMULATE_ARGS="--seconds 60")
	$(BIN)/tgs simulate --seeds $(SEEDS) $(SIMULATE_ARGS)

bench: install-dev ## Measure; the tables go to docs/performance.md (BENCH_ARGS="intake week": only these parts)
	$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

build: install ## Build the wheel that workers install; it goes to dist/
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

lock: ## Resolve the locks anew (the only target that needs uv)
	scripts/lock.sh

clean: ## Remove what was installed and built
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
