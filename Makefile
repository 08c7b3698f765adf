# Everything starts here: `make demo`, `make test`. `make help` lists the rest.
#
# The system's Python (3.11 or later) sets up .venv and .tools/bin; all else runs on .venv.
PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
UV := .venv/bin/uv
TOOLS_PATH := $(CURDIR)/.tools/bin:$(CURDIR)/.venv/bin:$(PATH)

# What the demo moves, and how: METHOD=geo-replication SHARDS=3 KEYS=50000 RATE=500; METHOD=rdb CATCH_UP=false; SKU=P1 TO=managed
METHOD ?=
SHARDS ?=
KEYS ?=
RATE ?=
CATCH_UP ?=
SKU ?=
TO ?=
# What is tested: TIER=unit, or several: TIER="unit redis"; PYTEST=... is handed on to pytest
TIER ?=
PYTEST ?=

export PULUMI_SKIP_UPDATE_CHECK := true

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench lint lock docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## bring the Python packages, Pulumi and redis-server
	@$(PYTHON) tools/bootstrap.py

demo: setup ## move a cache with 50,000 keys on this machine [METHOD=... SHARDS=... KEYS=... RATE=... CATCH_UP=false SKU=... TO=managed]
	@PATH="$(TOOLS_PATH)" $(VENV_PYTHON) tools/demo.py \
		$(if $(METHOD),--method "$(METHOD)") $(if $(SHARDS),--shards "$(SHARDS)") $(if $(KEYS),--keys "$(KEYS)") \
		$(if $(RATE),--rate "$(RATE)") $(if $(CATCH_UP),--catch-up "$(CATCH_UP)") \
		$(if $(SKU),--sku "$(SKU)") $(if $(TO),--to "$(TO)")

test: setup ## run the tests, tier after tier [TIER=unit]
	@PATH="$(TOOLS_PATH)" $(VENV_PYTHON) tools/run_tests.py $(TIER) $(if $(PYTEST),-- $(PYTEST))

bench: setup ## measure copying, comparing and cutting over
	@PATH="$(TOOLS_PATH)" $(VENV_PYTHON) tools/run_benchmarks.py

lint: setup ## check style and types
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m mypy

lock: setup ## choose the newest versions of all packages and write them, with hashes, to the lock files
	@$(VENV_PYTHON) tools/lock.py

docs: setup ## write the reference pages that are made from the code
	@$(VENV_PYTHON) tools/docs.py

clean: ## remove what setting up and running made in this folder; the cache of tools stays
	rm -rf .venv .tools .localazure .redismove .pytest_cache .hypothesis .mypy_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
