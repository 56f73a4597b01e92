# `make study` and `make test` are all that is needed; both install what they use into .venv first.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
# JAX is measured against, never used: it has an environment of its own.
JAX_VENV := .venv-jax
JAX_INSTALLED := $(JAX_VENV)/.installed
# Through python, so that a checkout can be moved.
SNAKEMAKE := $(VENV)/bin/python -m snakemake

.PHONY: help study test check bench lock clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

study: $(INSTALLED) ## run the study at the scale of config.yaml, on every core
	$(SNAKEMAKE) --cores all

test: $(INSTALLED) ## run every test
	$(VENV)/bin/python -m pytest

check: $(INSTALLED) ## linters, formatters and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/snakefmt --check Snakefile workflow
	$(SNAKEMAKE) --lint

bench: $(INSTALLED) $(JAX_INSTALLED) ## measure the speed, as ratios within one run
	$(VENV)/bin/python bench/bench_linear.py
	$(VENV)/bin/python bench/bench_two_layer.py --jax-python $(JAX_VENV)/bin/python

lock: $(INSTALLED) ## resolve envs/requirements.in anew
	$(VENV)/bin/pip install --quiet uv
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --quiet --no-annotate --upgrade \
	  --custom-compile-command "make lock" envs/requirements.in -o envs/requirements.lock

clean: ## remove results, logs and caches; .venv stays
	rm -rf results/smoke results/quick results/paper logs benchmarks .snakemake
	find src -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): envs/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12"; exit 1; }
	@echo "installing the pinned packages into $(VENV), a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement envs/requirements.lock
	$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(JAX_INSTALLED): envs/jax.txt
	$(PYTHON) -m venv $(JAX_VENV)
	$(JAX_VENV)/bin/pip install --quiet --requirement envs/jax.txt
	@touch $@
