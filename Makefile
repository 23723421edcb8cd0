# Verbs of Isocost. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help install run run-all race chaos test lint unit system fuzz bench load helm chart observe prometheus dashboards lock format clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Isocost needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

install: .venv/installed ## create .venv with everything pinned

run: .venv/installed ## serve on this machine: models, TorchServe, sandbox of paid APIs, router
	@$(BIN)/isocost run

model_store/trained/dates-en-de-small/model.safetensors: .venv/installed
	$(BIN)/isocost models train dates --size small

run-all: model_store/trained/dates-en-de-small/model.safetensors ## the same with every task and every vendor
	@$(BIN)/isocost run --config isocost-all.yaml

race: .venv/installed ## 200 callers, three processes, a few cents: on SQLite and on PostgreSQL
	ISOCOST_RACE_CALLS=$(or $(CALLS),2000) $(BIN)/pytest tests/system/router/test_budgets.py -k race -rP --timeout 1200

chaos: .venv/installed ## break every dependency under load, or SOAK=10m; writes docs/faults.md
	$(BIN)/python -m load_tests.chaos $(if $(SOAK),--soak $(SOAK),$(if $(ONLY),--only "$(ONLY)",--write))

lint: .venv/installed ## linters, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: lint ## everything: linters, types, import rules, all tests
	$(BIN)/python -m model_store pack
	$(BIN)/python -m tests.prometheus fetch
	$(BIN)/pytest -n 2 --dist loadgroup

unit: .venv/installed ## the quick tests only
	$(BIN)/pytest -n 2 tests/unit tests/contract

system: .venv/installed ## the tests with real processes
	$(BIN)/pytest -n 2 --dist loadgroup tests/system

fuzz: .venv/installed ## search for vendor answers that break a reader: make fuzz SECONDS=60 (needs atheris)
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

bench: .venv/installed ## measure against alternatives in one run; writes bench/out
	$(BIN)/python -m tests.bench

load: .venv/installed ## a load test with a verdict: make load PROFILE=vendor-outage [HOST=http://...] [ARGS=...]
	@$(BIN)/python -m load_tests.run --profile $(or $(PROFILE),smoke) $(if $(findstring ://,$(HOST)),--host $(HOST)) $(ARGS)

helm: .venv/installed ## check the chart: Helm 3 and 4, Kubernetes schemas, snapshots, refusals
	$(BIN)/pytest tests/system/helm

chart: .venv/installed ## write the chart's README and snapshots anew
	$(BIN)/python -m tests.system.helm.update

observe: prometheus ## Prometheus that scrapes the running router, with the alerts; http://127.0.0.1:9090
	@$(BIN)/python -m tests.prometheus serve

prometheus: .venv/installed ## fetch Debian's Prometheus into var/prometheus, where none is installed
	@$(BIN)/python -m tests.prometheus fetch

dashboards: .venv/installed ## write helm/isocost/dashboards from the short forms in helm/dashboards
	$(BIN)/python -m tests.dashboards

lock: ## resolve all pins again from pyproject.toml
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/pip install --quiet torch==2.13.0 && .lock/bin/pip install --quiet '.[serving,voice,vision,postgres,redis,parquet,otel,dev]'
	.lock/bin/pip freeze --all --exclude isocost | grep -v "^pip==" | sed 's/+cpu$$//' > requirements.txt
	rm -rf .lock && $(PYTHON) -m tests.pins

format: .venv/installed ## format the code
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

clean: ## remove what was built, not what was downloaded
	rm -rf .venv var model_store/archives .pytest_cache .mypy_cache .ruff_cache
