# On a fresh machine every target first makes what it needs: Python 3.11 or newer, git, curl and make are enough.

PYTHON ?= python3
HOST   ?= 127.0.0.1
PORT   ?= 2583
DATA   ?= data
BIN     = .venv/bin
# Found by its folder on the path. By an import hook, as is usual, a folder of the same name would be found first: a clone
# beside a script.
EDITABLE = --config-settings editable_mode=compat

run: export AURORA_BLOBS_BIND ?= $(HOST):$(PORT)
run: export AURORA_BLOBS_DATA_DIR ?= $(DATA)

.PHONY: help run demo wheel test test-fast test-live test-long test-hostile test-cluster test-s3-all test-postgresql test-min lint docs bench clean

help: ## show this
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: .venv/installed ## start the service on HOST:PORT with its data in DATA
	@exec $(BIN)/aurora-blobs run

demo: .venv/installed ## a photo goes in and comes out, step by step, on a server of its own
	@examples/demo

wheel: .venv/installed ## the package for other machines, in dist/
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

test: test-fast test-live ## every test but the long ones

# In memory where that can be: these make a store, of 257 folders each, more than a thousand times.
test-fast test-min test-postgresql test-cluster: export PYTEST_DEBUG_TEMPROOT ?= $(wildcard /dev/shm)

test-fast: .venv/developed ## the tests that need no outside server, in seconds
	$(BIN)/pytest -m 'not live and not long'

test-live: .venv/developed ## the tests on real servers, which are started for them; installs what is missing
	@tests/setup.sh
	$(BIN)/pytest -m 'live and not long'

test-long: .venv/developed ## the tests that take minutes: races, crashes, memory, fuzzing
	@tests/setup.sh
	$(BIN)/pytest -m long

test-hostile: .venv/developed ## requests that are made to hurt, 140,000 of them: many minutes; TEST_SEED repeats a run
	@tests/setup.sh
	$(BIN)/pytest tests/hostile

test-cluster: .venv/developed ## two and three nodes while servers and networks fail; CLUSTER_SECONDS, CLUSTER_SEED
	@tests/setup.sh
	$(BIN)/pytest -s tests/cluster

test-s3-all: .venv/developed ## the S3 tests on each store that can be had: SeaweedFS, Ceph's RGW and Swift
	@tests/setup.sh stores
	$(BIN)/pytest -m 'not long' tests/live/test_s3_*.py
	TEST_S3_STORE=ceph $(BIN)/pytest -m 'not long' tests/live/test_s3_*.py
	TEST_S3_STORE=swift $(BIN)/pytest -m 'not long' tests/live/test_s3_*.py

test-postgresql: .venv/developed ## the fast tests on PostgreSQL, which is started for them; ONLY=folders for some
	@tests/setup.sh
	TEST_DATABASE=postgresql $(BIN)/pytest -m 'not live and not long' $(ONLY)

test-min: .venv-min/installed ## the fast tests on the lowest versions that setup.cfg allows
	.venv-min/bin/pytest -m 'not live and not long'

lint: .venv/developed ## ruff (lint and format check) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/developed ## write what is made from the code: settings, methods, nginx for other places
	@cd tests && for part in settings_table api_page metrics_table nginx_site; do ../$(BIN)/python -m support.$$part || exit; done

bench: .venv/developed ## measure: ONLY=parts, QUICK=1, PUBLISH=1, FOLDER=where; bench/README.md says how
	@$(BIN)/python bench/run.py $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(if $(PUBLISH),--publish) \
	    $(if $(FOLDER),--folder $(FOLDER)) $(if $(ROWS),--rows $(ROWS))

clean: ## remove the environments and all caches; never the data
	rm -rf .venv .venv-min .cache .mypy_cache .ruff_cache .pytest_cache *.egg-info build
	find . -path './$(DATA)' -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python .venv-min/bin/python:
	@$(PYTHON) -m venv $(@:/bin/python=)

.venv/installed: setup.cfg pyproject.toml | .venv/bin/python
	@$(BIN)/pip install --quiet --disable-pip-version-check $(EDITABLE) --editable '.[brotli,images,s3]'
	@touch $@

.venv/developed: setup.cfg pyproject.toml | .venv/bin/python
	@$(BIN)/pip install --quiet --disable-pip-version-check $(EDITABLE) --editable '.[dev]'
	@touch .venv/installed $@

# uv, because pip has no way to ask for the lowest versions.
.venv-min/installed: setup.cfg pyproject.toml | .venv-min/bin/python
	@.venv-min/bin/pip install --quiet --disable-pip-version-check uv
	@.venv-min/bin/uv pip install --quiet --python .venv-min/bin/python --resolution lowest-direct --editable '.[test]'
	@touch $@
