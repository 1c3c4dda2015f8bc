# Every target sets up what it needs: a virtual environment in $(VENV), filled from constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet
JOBS ?= 2

.PHONY: help demo test test-all test-oldest check entries bench clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# torch goes first and by its exact version: left to a range, pip may choose a build of several gigabytes.
$(VENV)/.core: pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/.models: $(VENV)/.core
	$(PIP) -c constraints.txt torch==2.13.0
	$(PIP) -c constraints.txt -e '.[models]'
	touch $@

$(VENV)/.dev: $(VENV)/.models
	$(PIP) -c constraints.txt -e '.[models,train,hub,annotate,dev]'
	touch $@

# Tests of pages want a browser; where none can be had they skip and say so.
$(VENV)/.browser: $(VENV)/.dev
	command -v chromium chromium-browser google-chrome >/dev/null \
	  || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } \
	  || $(BIN)/playwright install chromium \
	  || echo "No browser could be installed: the tests of pages will be skipped."
	touch $@

demo: $(VENV)/.models  ## the whole pipeline on the embedded benchmark: a table, overlays and a report in out/demo
	$(BIN)/rvos demo --out out/demo

test: $(VENV)/.browser  ## the test suite without the minutes-long tests
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not long"

test-all: $(VENV)/.browser test-oldest  ## everything: kill, scale and long tests, and the oldest supported environment
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

OLDEST ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.10*/bin/python) python3.10)
test-oldest:  ## the core's tests on Python 3.10 with numpy 1.26 and without torch
	test -x $(VENV)-oldest/bin/python || $(OLDEST) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/pip --disable-pip-version-check install --quiet -c constraints-py310.txt . pytest pytest-xdist hypothesis psutil 'setuptools>=77'
	$(VENV)-oldest/bin/python -m pytest -n $(JOBS) --dist worksteal -m "not long"

check: $(VENV)/.dev  ## format, lint, types (of the built package: checkers cannot see an editable install)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf build && $(PIP) --no-deps --target build/typecheck .
	cd build/typecheck && $(abspath $(BIN))/python -m mypy --config-file ../../pyproject.toml -p rvos

entries: $(VENV)/.core  ## score the masks of every submitted entry again; what cannot be right is refused
	$(BIN)/rvos leaderboard check leaderboard/submitted

REAL ?= $(wildcard ../shared/packs/reasonvos)
bench: $(VENV)/.dev  ## speed as ratios within one run; writes docs/benchmarks.md
	$(PIP) -c constraints.txt vos-benchmark trackeval opencv-python-headless
	$(BIN)/python -m rvos.benchmarks.speed $(addprefix --real ,$(REAL)) --write docs/benchmarks.md
	$(BIN)/python -m rvos.videolisa.speed --write docs/benchmarks.md

clean:  ## remove the environments and everything built
	rm -rf $(VENV) $(VENV)-oldest build dist *.egg-info out
