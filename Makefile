# The commands for people and for CI. Everything built or downloaded is under .cache, which git ignores.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CACHE := .cache
BIN := $(CACHE)/venv/bin
PREPARE := tests/prepare.sh
JOBS ?= 2
# Tests with real services often wait for them, so one more runs at a time.
REAL_JOBS ?= $(shell expr $(JOBS) + 1)
# Tests start thousands of Python programs. Each would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE
# how long each parser is fuzzed
FUZZ_SECONDS ?= 60
# the tests that need only Python
PURE_TESTS := tests/unit

.PHONY: help demo docs test fuzz mutants e2e e2e-smoke release check lab lab-down openstack-lab openstack-lab-down bench bench-check bench-downtime golden format requirements clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Import a VM into ./demo and boot it; SOURCE=vmware (default), openstack, ova or ovirt
	@$(PREPARE) packages python
	@$(BIN)/vmferry demo --into demo $(if $(SOURCE),--source $(SOURCE))

test: ## Run check, then every test that needs no cluster (installs what is missing)
	@$(PREPARE) packages python vcenter guest libguestfs v2v kubevirt crds policies helm openstack ovirt
	@$(MAKE) --no-print-directory check
	@tests/real/openstack/with-services $(BIN)/pytest -n $(REAL_JOBS) --dist=worksteal --ignore=tests/unit

fuzz: ## Fuzz every parser of foreign bytes for FUZZ_SECONDS (60) each; print the seed, which depends on the commit
	@$(PREPARE) packages python
	@VMFERRY_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest -n $(JOBS) -rA tests/fuzz/test_fuzz.py

e2e: ## Run whole imports in the lab: real Kubernetes and Harvester, and Argo if its binaries exist (root)
	@$(PREPARE) packages python vcenter guest helm syft ovirt libguestfs v2v
	@tests/real/cluster/run

e2e-smoke: ## Run the part of e2e for CI: chart, one import, one retry, one deletion; about ten minutes (root)
	@$(PREPARE) packages python vcenter guest helm
	@tests/real/cluster/run --smoke

release: ## Build images, SBOMs and chart into dist/; BASE=NAME@sha256:DIGEST is the base image (docs/contributing/release.md)
	@: $(if $(findstring @sha256:,$(BASE)),,$(error BASE has no digest; use make release BASE=NAME@sha256:DIGEST))
	@$(PREPARE) python helm buildah syft
	@$(BIN)/python -m images.release --base "$(BASE)" $(RELEASE)

check: ## Check lint, types and import contracts, and run the unit tests: two minutes on two cores
	@$(PREPARE) python
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q -n $(JOBS) --dist=worksteal tests/unit

lab: ## Start a real Kubernetes with one node on this host, and Argo if its binaries exist (root)
	@tests/real/lab/build && tests/real/lab/up

lab-down: ## Stop the lab and remove what it created on this host
	@tests/real/lab/down

openstack-lab: ## Start the real OpenStack services on this host; some tests need them (root)
	@$(PREPARE) packages python openstack
	@$(BIN)/python -m tests.real.openstack.stack up

openstack-lab-down: ## Stop the OpenStack services; their state stays
	@$(BIN)/python -m tests.real.openstack.stack down

bench: ## Compare every figure of the data path with curl and qemu-img (docs/explanation/performance.md)
	@$(PREPARE) packages python vcenter ovirt
	@$(BIN)/python -m tests.bench

bench-check: ## Fail when a figure is more than 10 % worse than noted in docs/explanation/performance.json
	@$(PREPARE) packages python vcenter ovirt
	@$(BIN)/python -m tests.bench --runs 3 --quiet 10 --check

bench-downtime: ## Measure how long a VM is off, in the lab with Argo and KubeVirt (ARGS='--mib 4 2048 8192')
	@$(PREPARE) packages python vcenter helm
	@$(BIN)/python -m tests.bench.downtime $(ARGS)

mutants: ## Change the modules changed since main in small ways, and show what no test notices (not in CI)
	@$(PREPARE) mutants
	@$(CACHE)/mutants/venv/bin/python -m tests.mutants --jobs $(JOBS) --tests $(PURE_TESTS) \
	  $(if $(SINCE),--since $(SINCE)) $(if $(MODULES),--modules $(MODULES)) $(if $(SAMPLE),--sample $(SAMPLE)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(AGAIN),--again)

docs: ## Build the documentation into .cache/docs; open .cache/docs/html/index.html
	@$(PREPARE) docs
	@$(CACHE)/docs/venv/bin/sphinx-build --fail-on-warning --keep-going --quiet --fresh-env -b html docs $(CACHE)/docs/html

golden: ## Rewrite the golden files and the generated docs; look at the diff before you commit it
	@$(PREPARE) python
	@VMFERRY_GOLDEN=write $(BIN)/pytest -q tests/unit -k golden
	@$(BIN)/python -m workflows.api.crd --chart >charts/vmferry/templates/crds/crds.yaml
	@$(BIN)/python -m workflows.api.crd_v2v --chart >charts/vmferry/templates/crds/v2v.yaml
	@$(BIN)/python -m workflows.author.chart --chart charts/vmferry/files
	@PYTHONPATH=. $(BIN)/python docs/generate.py

format: ## Format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

requirements: ## Pin the requirements of pyproject.toml, with hashes (needs uv)
	@requirements/compile.sh

clean: ## Delete .cache and ./demo
	@rm -rf $(CACHE) demo
