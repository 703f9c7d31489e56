# One list of commands for people and for CI. Everything made or fetched lies under .cache, which git ignores.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CACHE := .cache
BIN := $(CACHE)/venv/bin
PREPARE := tests/prepare.sh
JOBS ?= 2

.PHONY: help demo docs test fuzz e2e e2e-smoke check lab lab-down openstack-lab openstack-lab-down bench bench-check golden format requirements clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Import a machine into ./demo and boot it; SOURCE=vmware (default), openstack or ova
	@$(PREPARE) packages python
	@$(BIN)/vmferry demo --into demo $(if $(SOURCE),--source $(SOURCE))

test: ## check, then every test that needs no cluster (installs what is missing)
	@$(PREPARE) packages python vcenter guest kubevirt crds helm openstack
	@$(MAKE) --no-print-directory check
	@tests/openstack/beside $(BIN)/pytest -n $(JOBS) --dist=worksteal

fuzz: ## Every parser of foreign bytes under fuzz, a minute each; the commit gives the seed, which is printed
	@$(PREPARE) packages python
	@VMFERRY_FUZZ_SECONDS=60 $(BIN)/pytest -n $(JOBS) -rA tests/fuzz/test_fuzz.py

e2e: ## Whole imports in the lab: real Kubernetes and Harvester, Argo where its binaries are given (root)
	@$(PREPARE) packages python vcenter guest helm
	@tests/cluster/run

e2e-smoke: ## The part of e2e that CI runs: chart, one import, one retry, one deletion; about ten minutes (root)
	@$(PREPARE) packages python vcenter guest helm
	@tests/cluster/run --smoke

check: ## Lint, types, import contracts, unit tests: under 30 seconds
	@$(PREPARE) python
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q tests/unit

lab: ## A real Kubernetes of one node on this machine, with Argo where its binaries are given (root)
	@tests/lab/build && tests/lab/up

lab-down: ## Take the lab down; it leaves nothing
	@tests/lab/down

openstack-lab: ## The real services of OpenStack on this machine, which some tests need (root)
	@$(PREPARE) packages python openstack
	@$(BIN)/python -m tests.openstack.stack up

openstack-lab-down: ## End them; what they know stays
	@$(BIN)/python -m tests.openstack.stack down

bench: ## Every figure of the data path against curl and qemu-img, side by side (docs/explanation/performance.md)
	@$(PREPARE) packages python vcenter
	@$(BIN)/python -m tests.bench

bench-check: ## Fail when a figure is more than 10 % worse than noted in docs/explanation/performance.json
	@$(PREPARE) packages python vcenter
	@$(BIN)/python -m tests.bench --runs 3 --quiet 10 --check

docs: ## Build the documentation into .cache/docs; open .cache/docs/html/index.html
	@$(PREPARE) docs
	@$(CACHE)/docs/venv/bin/sphinx-build --fail-on-warning --keep-going --quiet --fresh-env -b html docs $(CACHE)/docs/html

golden: ## Write the golden files and the generated docs again; look at the diff before you commit it
	@$(PREPARE) python
	@VMFERRY_GOLDEN=write $(BIN)/pytest -q tests/unit tests/author tests/reflect tests/targets -k golden
	@$(BIN)/python -m workflows.api.crd --chart >charts/vmferry/templates/crds/crds.yaml
	@$(BIN)/python -m workflows.author.chart --chart charts/vmferry/files
	@PYTHONPATH=. $(BIN)/python docs/generate.py

format: ## Format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

requirements: ## Pin what pyproject.toml asks for, with hashes (needs uv)
	@requirements/compile.sh

clean: ## Drop everything under .cache and ./demo
	@rm -rf $(CACHE) demo
