# Two commands on a fresh machine: `make demo` and `make test`. Each does its own set-up.
# Works with GNU Make 3.81 (macOS) and with -j: every target that needs the environment waits for the one stamp file.

PYTHON ?= python3
# More arguments for pip. The plain index has the CUDA build of PyTorch for Linux, gigabytes large; for the CPU build:
#   make setup PIP_ARGS="--extra-index-url <PyTorch's index of CPU wheels>"
PIP_ARGS ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint format miniature method retraining browser clean clean-all

help:  ## say what there is
	@echo "make TARGET [PYTHON=python3.12] [PIP_ARGS=...] [PYTEST_ARGS=...] [DEMO_ARGS=...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "On Linux, PIP_ARGS=\"--extra-index-url <PyTorch's index of CPU wheels>\" spares the download of CUDA."

setup: $(STAMP)  ## make the environment in .venv (again when pyproject.toml, setup.py or constraints.txt change)

# --no-compile: Python compiles what is used at its first use; all of PyTorch ahead would take a minute longer.
$(STAMP): pyproject.toml setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: no program '$(PYTHON)'. Install Python 3.11 to 3.13, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "make: Python 3.11 to 3.13 is needed, and $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	    "Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "make: $(PYTHON) can't make environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV): a minute or two the first time" >&2
	@if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
	  $(BIN)/python -m pip install --disable-pip-version-check --no-compile $$quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## run the main job on the sample pictures: submit, Redis, worker, verdicts in SQL
	@$(BIN)/modctl demo $(DEMO_ARGS)

# Without one the browser tests are skipped, or fail where the variable CI is set.
browser: $(STAMP)  ## a Chromium for the browser tests, where there is none: Debian's if apt may install it, else Playwright's
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$name >/dev/null && exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; \
	then exit 0; fi; \
	$(BIN)/python -m playwright install chromium || echo "make: no Chromium could be installed; the browser tests need one" >&2

test: $(STAMP) browser  ## run all tests; PYTEST_ARGS="-k scan" runs some
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)  ## check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## put the code into the shape that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

miniature: $(STAMP)  ## train the embedded backbone again (under an hour on two cores; fails while a bar is missed)
	$(BIN)/python -m moderation.miniature.build

method: $(STAMP)  ## tune and evaluate for docs/method.md (an hour on two busy cores)
	$(BIN)/python -m benchmarks.method

retraining: $(STAMP)  ## tell the loop once with real parts, and once spoiled by a liar: writes the figures of docs/retraining.md
	$(BIN)/python -m benchmarks.retraining --page > benchmarks/retraining/results.json.new
	mv benchmarks/retraining/results.json.new benchmarks/retraining/results.json

clean:  ## remove caches and build output
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -type d -prune -exec rm -rf {} +

clean-all: clean  ## the same, and the environment
	rm -rf $(VENV)
