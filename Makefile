# Verbs of Isocost. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
TORCH ?= cpu
.DEFAULT_GOAL := help
.PHONY: help install run run-all race chaos test lint unit system fuzz bench load helm chart observe prometheus dashboards lock image k8s format clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/installed: requirements.txt requirements/torch-$(TORCH).txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Isocost needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --retries 1 -r requirements/torch-$(TORCH).txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

install: .venv/installed ## create .venv with everything pinned, by hash; TORCH=cuda for a GPU

run: .venv/installed ## serve on this machine: models, TorchServe, sandbox of paid APIs, router
	@$(BIN)/isocost run

model_store/trained/dates-en-de-small/model.safetensors: .venv/installed
	$(BIN)/isocost models train dates --size small

run-all: model_store/trained/dates-en-de-small/model.safetensors ## the same with every task and every vendor
	@$(BIN)/isocost run --config isocost-all.yaml

race: .venv/installed ## 200 callers, three processes, a few cents: on SQLite and on PostgreSQL
	ISOCOST_RACE_CALLS=$(or $(CALLS),2000) $(BIN)/pytest tests/system/router/test_budgets.py -k race -rP --timeout 1200

chaos: .venv/installed ## break every dependency under load, or SOAK=10m; writes docs/faults.md
	$(BIN)/python -m load_tests.chaos $(if $(SOAK),--soak $(SOAK) --write,$(if $(ONLY),--only "$(ONLY)",--write))

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

lock: ## resolve the pins from pyproject.toml, with hashes; UPGRADE=1 takes the newest
	rm -rf .lock && $(PYTHON) -m venv .lock && .lock/bin/pip install --quiet uv==0.13.9
	PATH=$(CURDIR)/.lock/bin:$$PATH $(PYTHON) -m tests.lock $(if $(UPGRADE),--upgrade)
	rm -rf .lock

image: .venv/installed ## build the images isocost/router, isocost/load and isocost/torchserve, and try them in podman; TORCH=cuda for GPUs
	./image/build
	ISOCOST_IMAGE=1 $(BIN)/pytest -v tests/system/image

k8s: .venv/installed ## try the chart on a real cluster of one node (docs/kubernetes-lab.md); KEEP=1 leaves it running
	ISOCOST_K8S=1 $(BIN)/pytest -v tests/k8s

format: .venv/installed ## format the code
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

clean: ## remove what was built, not what was downloaded
	rm -rf .venv var model_store/archives .pytest_cache .mypy_cache .ruff_cache
