# asof: `make` alone lists what can be done. ARGS="..." hands options on, PYTHON=... and VENV=... choose an environment.
# Needs GNU make and Python 3.11, 3.12 or 3.13 with its venv module; everything else comes from the Python package index.

SHELL := /bin/sh
VENV ?= .venv
PYTHON ?= python3.11
ARGS ?=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input install
HOUSE := src tests examples bench docs

# A stamp carries the checksum of the file that it stands for: pip runs when the content changes, not when git touches it.
sum = $(firstword $(shell cksum < $(1)))
EXAMPLES := $(VENV)/.examples-$(call sum,requirements/examples.txt)
DEV := $(VENV)/.dev-$(call sum,requirements/dev.txt)
EDITABLE := $(VENV)/.editable-$(call sum,pyproject.toml)

.DEFAULT_GOAL := help
# One thing at a time: the targets share one environment.
.NOTPARALLEL:
.PHONY: help demo test lint types docs bench soak requirements clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' Makefile

demo: $(EXAMPLES) $(EDITABLE) ## set up, then simulate a bank, build a training set, train and show a model
	@$(PY) -m examples.ach_return_risk $(ARGS)

test: $(DEV) $(EDITABLE) ## set up, then run all tests (ARGS="-k name" for some)
	@$(PY) -m pytest -q $(ARGS)

lint: $(DEV) ## check style and formatting
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check .

types: $(DEV) $(EDITABLE) ## check types, strictly
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright --pythonpath $(PY) $(ARGS)

docs: $(DEV) $(EDITABLE) ## run every command, link and table of the documentation
	@$(PY) -m pytest -q tests/docs $(ARGS)

bench: $(DEV) $(EDITABLE) ## measure against the other side (ARGS="name ..." for some)
	@$(PY) -m bench $(ARGS)

soak: $(DEV) $(EDITABLE) ## the property tests with thousands of examples each
	@ASOF_HYPOTHESIS_PROFILE=soak $(PY) -m pytest -q -m "not service" $(ARGS)

requirements: $(DEV) ## pin all dependencies anew from pyproject.toml (ARGS=--upgrade for the newest)
	@UV="$(VENV)/bin/uv" sh requirements/compile.sh $(ARGS)

clean: ## remove the environment and what the tools left behind
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis bench/out
	find $(wildcard $(HOUSE)) -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------------------------ set-up
# On a terminal pip shows what it does, with its progress bars; in a log only what goes wrong.
define pip_requirements
	@if [ -t 1 ]; then quiet=; else quiet=-q; fi; \
	$(PIP) $$quiet --require-hashes --only-binary :all: -r $(1)
endef

$(PY):
	@found=; for python in "$(PYTHON)" python3 python3.12 python3.13; do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	  then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "error: asof needs Python 3.11, 3.12 or 3.13; neither '$(PYTHON)' nor python3 is one" >&2; \
	  echo "hint: on Debian 'apt install python3.11 python3.11-venv', or say make PYTHON=/path/to/python3" >&2; exit 2; \
	fi; \
	if [ "$$found" != "$(PYTHON)" ]; then echo "'$(PYTHON)' is not usable here: taking '$$found'"; fi; \
	"$$found" -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "hint: on Debian 'apt install python3.11-venv' brings the missing module" >&2; exit 2; \
	}

$(EXAMPLES): | $(PY)
	@echo "Setting up $(VENV) with what the examples need (about 235 MB to download, once) ..."
	$(call pip_requirements,requirements/examples.txt)
	@rm -f $(VENV)/.examples-*; touch $@

$(DEV): | $(PY)
	@echo "Setting up $(VENV) with what development needs (about 380 MB to download, once) ..."
	$(call pip_requirements,requirements/dev.txt)
	@rm -f $(VENV)/.dev-* $(VENV)/.examples-*; touch $@ $(EXAMPLES)

# Building the editable install needs hatchling, which both requirement files bring.
$(EDITABLE): | $(PY)
	@$(PIP) -q --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.editable-*; touch $@
