# One command per act. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
# More options for pip, e.g. the index of PyTorch's CPU builds: make install PIP_OPTIONS="--extra-index-url ..."
PIP_OPTIONS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_OPTIONS)
# Processes of the tests. Each gets one thread: PyTorch's own threads would only fight over the cores.
WORKERS ?= 2
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help install develop demo test lint types tests format check bench bench-quick docs wheel clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## make .venv and install metacortex with the versions of constraints.txt

develop: .venv/developing ## install what the tests need, too

demo: install ## meta-train on glyphs, compare on unseen scripts and on real handwriting (2 minutes)
	@$(BIN)/metacortex demo

test: lint ## lint, types and tests
	@# pyright keeps one core busy for most of a minute: meanwhile the tests run
	@$(MAKE) --no-print-directory -j2 types tests

lint: develop ## ruff: mistakes and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: develop ## pyright on src
	$(BIN)/pyright --pythonpath $(BIN)/python

tests: develop ## pytest
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS)

format: develop ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: ## exactly what continuous integration runs
	./.ci/run

bench: install ## meta-gradients beside other libraries (benchmarks/requirements.txt), then tasks drawn per second
	$(BIN)/python -m benchmarks.side_by_side --memory --out build/bench
	$(BIN)/python benchmarks/task_drawing.py

bench-quick: install ## a subset of it
	$(BIN)/python -m benchmarks.side_by_side --quick --out build/bench

docs: develop ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

wheel: develop ## build the wheel into dist/
	$(BIN)/python -m build --no-isolation --wheel

clean: ## delete .venv and everything that was built or cached here
	rm -rf .venv build dist site .cache .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@command -v "$(PYTHON)" >/dev/null || \
	  { echo "make: no '$(PYTHON)' here: install Python 3.11 or newer, or name one: make install PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: metacortex needs Python 3.11 or newer, '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1);" \
	    "name a newer one: make install PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv || { rm -rf .venv; exit 1; }

# The files say that everything was installed; pip runs again only when one of these is newer.
.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing metacortex and what it needs into .venv (PyTorch is large: this can take some minutes)"
	@$(PIP) --editable .
	@touch $@
	@echo "installed: .venv/bin/metacortex"

.venv/developing: .venv/installed
	@echo "installing the tools of development"
	@$(PIP) --editable '.[dev]'
	@touch $@
