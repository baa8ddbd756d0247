# Everything here sets up what it needs, inside .venv. A second run installs nothing and needs no network.

PYTHON ?= python3
PY := .venv/bin/python
TORCH ?= torch==2.13.0
TENSORFLOW ?= tensorflow
SEED ?= 0
JOBS ?= 2
ARGS ?=
, := ,

# A stamp is written after its installation has ended, never before, and only for the packages it names.
DEMO_STAMP := .venv/.installed
DEV_STAMP := .venv/.installed-dev
BENCH_STAMP := .venv/.installed-bench
TORCH_STAMP := .venv/.installed-torch
TENSORFLOW_STAMP := .venv/.installed-tensorflow

# The environment is sound when its Python starts, has Keras and finds keratune in this very folder.
SOUND := $(shell $(PY) -c "import os; from importlib.util import find_spec as f; f('keras').origin; \
	os.path.samefile(f('keratune').origin, 'src/keratune/__init__.py') or exit(1)" \
	>/dev/null 2>&1 && echo yes)
NEEDS := pyproject.toml $(if $(SOUND),,repair)

PYTEST := $(PY) -m pytest -q --timeout=300 --order-seed=$(SEED)
# Two processes share the files of tests. Many tests wait for processes that they have started.
SHARED := -n $(JOBS) --dist loadfile
CODE = $(wildcard src tests examples tools benchmarks)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check soak format bench bench-search smoke-tensorflow smoke-torch clean repair

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

demo: $(DEMO_STAMP)  ## Run a short search on a small dataset
	@KERAS_BACKEND=jax $(PY) examples/breast_cancer.py

test: $(DEV_STAMP)  ## Run the tests on JAX (SEED=3 for another order, JOBS=1, ARGS for more options)
	@KERAS_BACKEND=jax $(PYTEST) $(SHARED) $(ARGS)

check: $(DEV_STAMP)  ## Lint, types, architecture, links in the docs
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m mypy
	KERAS_BACKEND=jax $(PYTEST) tests/test_architecture.py tests/test_docs.py
	@$(PY) tools/sizes.py

soak: $(DEV_STAMP)  ## Kill searches at many moments and compare, for 20 minutes (SEED=3: other moments)
	@KERAS_BACKEND=jax KERATUNE_SOAK=1 KERATUNE_SOAK_SEED=$(SEED) \
		$(PYTEST) --timeout=3600 -s tests/faults $(ARGS)

format: $(DEV_STAMP)  ## Format the code and mend what the linter can mend
	$(PY) -m ruff check --fix $(CODE)
	$(PY) -m ruff format $(CODE)

bench: $(DEV_STAMP)  ## Run the benchmark
	@if [ -f benchmarks/run.py ]; then KERAS_BACKEND=jax $(PY) benchmarks/run.py $(ARGS); \
	else echo "There is no benchmarks/run.py in this checkout."; fi

bench-search: $(BENCH_STAMP)  ## Compare how well keratune searches with its peers; ARGS="--help" lists options
	@$(PY) benchmarks/search.py $(ARGS)

smoke-tensorflow: $(TENSORFLOW_STAMP)  ## Run the smoke suite on TensorFlow
	@KERAS_BACKEND=tensorflow $(PYTEST) $(SHARED) -m backends $(ARGS)

smoke-torch: $(TORCH_STAMP)  ## Run the smoke suite on PyTorch
	@KERAS_BACKEND=torch $(PYTEST) $(SHARED) -m backends $(ARGS)

clean:  ## Remove the environment, caches and builds
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

repair:
	@:

# 1. An environment whose pip answers; whatever else is there is thrown away and made anew.
# 2. The stamp goes first and comes back last, so that an interrupted installation is done again.
# Some systems ship Python without ensurepip: their own pip then installs one into the environment.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "keratune needs Python 3.10 or newer. Name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@rm -f $@
	@$(PY) -m pip --version >/dev/null 2>&1 || { rm -rf .venv && { $(PYTHON) -m venv .venv 2>/dev/null || { \
		rm -rf .venv && $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python $(PY) install -q pip; }; }; }
	@echo "Installing $(1) into .venv. The first time this takes a few minutes."
	@$(PY) -m pip install -q --disable-pip-version-check $(2)
	@touch $@
endef

$(DEMO_STAMP): $(NEEDS)
	$(call install,keratune$(,) JAX and scikit-learn,-e '.[jax$(,)sklearn]')

$(DEV_STAMP): $(NEEDS)
	$(call install,keratune and its development tools,-e '.[dev]')
	@touch $(DEMO_STAMP)  # what the demo needs is among them

$(BENCH_STAMP): $(DEV_STAMP)
	$(call install,the peers of the search benchmark,-e '.[bench]')

$(TENSORFLOW_STAMP): $(DEV_STAMP)
	$(call install,TensorFlow,'$(TENSORFLOW)')

$(TORCH_STAMP): $(DEV_STAMP)
	$(call install,PyTorch,'$(TORCH)')
