# The commands of this repository. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench

.DEFAULT_GOAL := help
.PHONY: help setup run test coverage test-pythons test-services test-interop lint api format bench bench-check bench-setup nats-server soak simulate pins clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY) ## .venv with both distributions, editable, and the tools; seconds when nothing changed

$(READY): msgtrans/pyproject.toml artemis/pyproject.toml requirements/dev.txt requirements/pins.txt
	@echo "Installing into $(VENV); about a minute the first time."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/pins.txt \
	  -e 'msgtrans[all]' -e 'artemis[all]' -r requirements/dev.txt
	@touch $(READY)

run: setup ## a node on 127.0.0.1:8080 and a small fleet of services that use it; Ctrl-C ends it
	$(BIN)/artemis demo

# A process for each processor, which takes over tests from the others when it has none left. More than 8 would mostly
# collect: each collects all tests.
PARALLEL := -n auto --maxprocesses 8 --dist worksteal
# Where Python is told to keep no bytecode, each of the hundreds of processes that tests start compiles all it imports.
test coverage test-pythons test-services: export PYTHONDONTWRITEBYTECODE :=

test: setup ## every test that needs nothing but Python, on all processors
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

coverage: setup ## the same tests, and which lines and branches they leave out
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term $(ARGS)

test-pythons: ## the same tests on every other Python that is installed (3.12, 3.13, 3.14)
	@for version in 3.12 3.13 3.14; do \
	  if command -v python$$version >/dev/null && python$$version -c pass 2>/dev/null; then \
	    echo "== Python $$version"; \
	    $(MAKE) --no-print-directory setup VENV=.venv-$$version PYTHON=python$$version && \
	    .venv-$$version/bin/python -m pytest -q $(PARALLEL) $(ARGS) || exit 1; \
	  else echo "== Python $$version: not installed, skipped"; fi; \
	done

lint: setup ## ruff, mypy --strict, the import rules, the promises of the public API
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy msgtrans/src artemis/src api
	$(BIN)/lint-imports
	$(BIN)/python -m api check

api: setup ## record the public API of both distributions in api/*.txt, where the version allows what has changed
	$(BIN)/python -m api write

format: setup ## put the code in its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-setup ## every benchmark, one after the other, with JSON and charts; ARGS=NAME for one
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-check: bench-setup ## ratios of a short run against benchmarks/baseline.json; ARGS=--update renews it
	$(BIN)/python benchmarks/bench_check.py $(ARGS)

soak: setup ## servers and clients that work for HOURS=1 on links that fail, and may not grow; ARGS=--chart FILE.png
	$(BIN)/python benchmarks/soak.py --hours $(or $(HOURS),1) $(ARGS)

bench-setup: $(BENCH_READY) nats-server

# nats-server is unpacked, not installed: a package that is installed starts a service. Where neither works, what needs
# it is left out.
nats-server: $(READY)
	@if command -v apt-get >/dev/null && ! PATH="$(BIN):$$PATH" command -v nats-server >/dev/null; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq; fi; \
	  cd $(VENV) && apt-get download -qq nats-server && dpkg-deb -x nats-server_*.deb nats && \
	  mv nats/usr/sbin/nats-server bin/ && rm -rf nats nats-server_*.deb || true; fi

$(BENCH_READY): $(READY) requirements/bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/pins.txt -r requirements/bench.txt
	@touch $(BENCH_READY)

simulate: setup ## 10 000 simulated clusters of both kinds each on all cores; SEEDS=A:B for others
	$(BIN)/python -m artemis.testing.simulation --cluster mesh --seeds $(or $(SEEDS),0:10000) $(ARGS)
	$(BIN)/python -m artemis.testing.simulation --cluster engine --seeds $(or $(SEEDS),0:10000) $(ARGS)

# Lost packets need nft, namespaces ip, wrong clocks libfaketime; what a user may not install or do is skipped.
test-services: setup nats-server ## tests that need root, namespaces, nats-server or time: networks that fail, full disks, wrong clocks; 5 minutes
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  ! { command -v nft && command -v ip && ls /usr/lib/*/faketime/libfaketime.so.1; } >/dev/null 2>&1; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends iproute2 nftables libfaketime || true; fi
	ARTEMIS_TEST_SERVICES=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS) artemis/tests/services artemis/tests/server/test_workers_engine.py

# Cargo builds six small programs: minutes the first time, a second when nothing changed. ARGS go to pytest.
test-interop: setup ## tests against programs made of the Rust crate msgtrans 1.0.0, 1.0.10 and 2.0; needs cargo
	@if command -v cargo >/dev/null; then $(BIN)/python interop/build.py; \
	else echo "cargo is not installed: the tests against the Rust crate are left out"; fi
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS) interop/tests

pins: ## renew requirements/pins.txt from what is newest
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet -e 'msgtrans[all]' -e 'artemis[all]' -r requirements/dev.txt
	(head -1 requirements/pins.txt; $(BIN)/python -m pip freeze --exclude-editable) > requirements/pins.new
	mv requirements/pins.new requirements/pins.txt

clean: ## remove what the commands made
	rm -rf $(VENV) .venv-* .coverage* htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis
