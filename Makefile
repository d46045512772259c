# What a fresh machine needs: `make repro` (environment, then the pipeline) and `make test` (environment, then tests).
PYTHON ?= python3
BIN := .venv/bin
# DVC runs each stage with `python`: it must be the environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help repro test test-all bench faults check format
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z.-]+):.*## /\1\t/' | expand -t 12

# Built again only when what it is built from changed.
.venv: .venv/.complete  ## the environment alone
.venv/.complete: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

repro: .venv  ## the whole pipeline: params.yaml -> plots/report.html
	couplet recover
	dvc repro
	@echo "open plots/report.html"
	@couplet committed

test: .venv  ## all tests but the slow simulations
	python -m pytest -n 2 --dist loadfile

test-all: .venv  ## all tests, the slow simulations of coverage included
	python -m pytest -n 2 --dist loadfile -m 'not committed'

# Half an hour on two quiet cores; ONLY="prepare codec" runs those alone, and studies run only when named.
bench: .venv  ## measure everything again, into benchmarks/RESULTS.md
	python -m benchmarks $(ONLY)

# Each kind at each stage once: about a quarter of an hour on one core. Another seed chooses other moments.
NUMBER ?= 82
SEED ?= 1
faults: .venv  ## kill, starve and corrupt the graph: make faults NUMBER=82 SEED=1
	python -m tests.faults --number $(NUMBER) --seed $(SEED)

check: .venv  ## format, lint and types
	ruff format --check src stages tests benchmarks
	ruff check src stages tests benchmarks
	mypy

format: .venv  ## format the code and mend what the linter can
	ruff format src stages tests benchmarks
	ruff check --fix src stages tests benchmarks
