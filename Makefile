# One command per job. Each installs what it needs first: into .venv and, as root on Debian, by apt-get.

PYTHON ?= python3
CONFIG ?= config.toml
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
SOURCES := gateway protocols storage api tests bench

.PHONY: run serve test lint types imports tests torture bench format lock clean

## run: the gateway beside another mail provider, with a walk through the main job
run: $(VENV)/.runtime
	$(BIN)/mail-gateway demo

## serve: the gateway alone, from $(CONFIG)
serve: export CONFIG := $(CONFIG)
serve: $(VENV)/.runtime
	@if [ "$$CONFIG" = config.toml ] && [ ! -e config.toml ]; then \
		cp config.example.toml config.toml && \
		echo "Wrote config.toml from config.example.toml: set accounts.local_domain and [relay] in it."; \
	fi
	$(BIN)/mail-gateway serve --config "$$CONFIG"

## test: everything that has to hold: lint, types, import rules, tests
test: lint types imports tests

lint: $(VENV)/.development
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.development
	$(BIN)/mypy

imports: $(VENV)/.development
	$(BIN)/lint-imports

tests: $(VENV)/.development
	$(BIN)/pytest --numprocesses 2 --dist worksteal

## torture: hundreds of deaths, faults and hostile inputs, in about half an hour; writes docs/reliability.md
torture: $(VENV)/.development
	$(BIN)/pytest -m torture --figures=docs/reliability.md

## bench: what the gateway exists for, beside what it could cost, in about half an hour; writes docs/performance.md
bench: $(VENV)/.development
	tools/debian-packages bench
	$(BIN)/python -m bench

## format: rewrite the sources in the project's format
format: $(VENV)/.development
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

## lock: choose the newest versions that pyproject.toml allows, for constraints.txt
lock: $(VENV)/.development
	$(BIN)/python -m pip --disable-pip-version-check install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --all-extras --no-header --no-annotate \
		--python-version 3.11 --output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	tools/debian-packages runtime
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[embedded,demo]'
	touch $@

$(VENV)/.development: pyproject.toml constraints.txt tools/debian-packages | $(BIN)/python
	tools/debian-packages development
	$(PIP) --editable '.[embedded,demo,dev]'
	touch $@ $(VENV)/.runtime
