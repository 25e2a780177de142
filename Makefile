# Two commands do everything from a bare Python >= 3.11:  make demo  and  make test.
# PYTHON=python3.12 picks the interpreter, ARGS="..." is handed on, WORKERS=4 sets the test processes.

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Each stamp is newer than what it was installed from, so nothing is installed twice.
DEMO := .venv/.installed-demo
DEV := .venv/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs clean

help:
	@echo "make demo    flow maps computed, checked, learned and sampled: a report in minutes   (ARGS=...)"
	@echo "make test    the whole suite                                        (ARGS='-k name', WORKERS=n)"
	@echo "make lint    ruff, basedpyright, import-linter, codespell"
	@echo "make format  ruff's fixes and layout"
	@echo "make docs    the documentation, in docs/_build"
	@echo "make clean   remove what the other commands made, .venv included"

demo: $(DEMO)
	$(BIN)/flowmaps demo $(ARGS)

test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEV)
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build

clean:
	rm -rf .venv docs/_build build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find flowmaps tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "flowmaps needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

$(DEMO): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[demo]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[testing,demo,docs,dev]'
	@touch $@ $(DEMO)
