# Each target sets up what it needs: a fresh clone needs no other step.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
.DEFAULT_GOAL := help
.PHONY: help setup run test slow lint types check bench docs clean

help: ## print these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt tools/bootstrap.py
	$(PYTHON) tools/bootstrap.py

setup: $(READY) ## make .venv and install clnf into it

run: $(READY) ## teach the bundled model four new things on a chip (about 7 minutes)
	$(BIN)/clnf run

test: $(READY) ## the whole fast suite (under 8 minutes on 2 cores)
	$(PYTEST) -q -n 2 -m "not slow" --durations=10

slow: $(READY) ## the tests that take minutes each
	$(PYTEST) -q -n 2 -m slow

lint: $(READY) ## ruff, the import law, the rules of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/house.py

types: $(READY) ## mypy, strict; scripts outside the package by their calls
	$(BIN)/mypy
	$(BIN)/mypy --config-file tools/scripts.ini benchmarks/*.py tools/*.py examples/*.py docs/*.py

check: lint types test ## all of the above

bench: $(READY) ## run every benchmark, write benchmarks/RESULTS.md
	$(BIN)/python tools/bench.py

.venv/.docs: $(READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[docs]" && touch $@

docs: .venv/.docs ## build the documentation: build/docs/index.html
	$(BIN)/python -m sphinx -q -W --keep-going docs build/docs

clean: ## remove caches and the environment, keep runs
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build docs/generated
	find src -name __pycache__ -prune -exec rm -rf {} +
