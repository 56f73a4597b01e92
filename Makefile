# `make study` and `make test` are all that is needed; both install what they use into .venv first.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
# JAX is measured against, never used: it has an environment of its own.
JAX_VENV := .venv-jax
JAX_INSTALLED := $(JAX_VENV)/.installed
COMPILE := $(VENV)/bin/uv pip compile --universal --python-version 3.11 --quiet --no-annotate \
  --custom-compile-command "make lock"
# Through python, so that a checkout can be moved.
SNAKEMAKE := $(VENV)/bin/python -m snakemake
# The report is named after its scale; another one: make report SCALE=smoke
SCALE = $(shell sed -n 's/^scale: *\([a-z0-9_]*\).*/\1/p' config.yaml)

# A file of tests stays with one worker, which sets up what its tests share; slow files come first.
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist loadfile \
  --no-loadscope-reorder

.PHONY: help study report findings test test-fast test-cluster check schema calibrate bench gpu-check lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

study: $(INSTALLED) ## run the study at the scale of config.yaml, on every core
	$(SNAKEMAKE) --cores all

report: $(INSTALLED) ## all figures, captions and claims as results/SCALE/report.html and .zip
	$(SNAKEMAKE) --cores all report_items --config scale=$(SCALE)
	for form in html zip; do \
	  $(SNAKEMAKE) report_items --config scale=$(SCALE) --report results/$(SCALE)/report.$$form \
	    --report-stylesheet workflow/report/report.css || exit 1; \
	done

findings: $(INSTALLED) ## write what the study of scale quick found into README.md
	$(VENV)/bin/python -m pipeline_lib.claims.findings results/$(SCALE)

test: $(INSTALLED) ## run every test, side by side on all cores
	$(PYTEST)

test-fast: $(INSTALLED) ## the quick tests of the library, three minutes in all
	$(PYTEST) -m "not slow"

test-cluster: $(INSTALLED) ## the tests that need a Slurm, on one that runs here meanwhile (root)
	@set -e; trap 'exit 130' INT TERM; \
	  tests/cluster/start.sh; trap tests/cluster/stop.sh EXIT; \
	  TEST_CLUSTER_STARTED=1 $(VENV)/bin/python -m pytest tests/cluster; \
	  tests/cluster/stop.sh; trap - EXIT; \
	  tests/cluster/start.sh --accounting; trap tests/cluster/stop.sh EXIT; \
	  TEST_CLUSTER_STARTED=accounting $(VENV)/bin/python -m pytest tests/cluster/test_accounting.py

check: $(INSTALLED) ## linters, formatters and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/snakefmt --check Snakefile workflow
	$(SNAKEMAKE) --lint
	$(VENV)/bin/hadolint Dockerfile

schema: $(INSTALLED) ## write the schema and the documentation of config.yaml from the typed sections
	$(VENV)/bin/python workflow/schemas/write.py

calibrate: $(INSTALLED) ## simulate coverage and verdicts anew into docs/inference.md, half an hour
	$(VENV)/bin/python -m pipeline_lib.calibration docs/inference.md

bench: $(INSTALLED) $(JAX_INSTALLED) ## measure the speed, as ratios within one run
	$(VENV)/bin/python bench/bench_linear.py
	$(VENV)/bin/python bench/bench_two_layer.py --jax-python $(JAX_VENV)/bin/python
	$(VENV)/bin/python bench/bench_mlp.py
	$(VENV)/bin/python bench/bench_precision.py
	$(VENV)/bin/python bench/bench_workflow.py

gpu-check: $(INSTALLED) ## whether networks train rightly on the GPU here, and how fast, 20 minutes
	$(VENV)/bin/python bench/gpu_check.py

lock: $(INSTALLED) ## resolve envs/requirements.in and light.in anew
	$(VENV)/bin/pip install --quiet uv
	$(COMPILE) --upgrade envs/requirements.in -o envs/requirements.lock
	$(COMPILE) --constraint envs/requirements.lock envs/light.in -o envs/light.lock
	$(VENV)/bin/python envs/pin_conda.py

clean: ## remove results, logs and caches; .venv stays
	rm -rf results/*/ logs .snakemake
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
