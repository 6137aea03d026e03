# One command for each task; `make` alone lists them.
#
# Everything happens in $(VENV). What is installed is pinned by hash in requirements/*.txt, so a
# second run finds its stamps and starts at once. PYTHON selects the interpreter when the
# environment is made; `make clean` first to change it.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet --quiet
PINNED  := $(PIP) install --require-hashes --only-binary=:all:
RUNTIME := $(VENV)/.runtime
DEV     := $(VENV)/.dev

# Debian keeps mosquitto where only root's PATH looks.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin

.DEFAULT_GOAL := help
.PHONY: help demo test test-other check coverage docs bench soak pins clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

demo: $(RUNTIME) ## run the main job: sensors, gateway, service, faults, verdict
	$(BIN)/coldseal demo $(ARGS)

test: $(DEV) ## run every gate and every test, with coverage
	@$(BIN)/python -m tools.system_parts test
	@$(MAKE) --no-print-directory strangers check
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist worksteal $(ARGS)
	@$(MAKE) --no-print-directory coverage

test-other: $(DEV) ## run the tests under a second Python (3.13 or 3.11), if there is one
	@$(BIN)/python -m tools.system_parts test
	@other=$$($(BIN)/python -m tools.other_python) || other=; \
	if [ -n "$$other" ]; then \
	  $(MAKE) --no-print-directory VENV=.venv-other PYTHON="$$other" plain-tests; \
	else \
	  echo "second Python: not run, neither 3.13 nor 3.11 found beside $$($(BIN)/python -V)"; \
	  [ "$$CI" != true ]; \
	fi

.PHONY: plain-tests strangers
plain-tests: $(DEV) strangers
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

strangers: $(DEV)
	@$(BIN)/python -m tools.strangers

check: $(DEV) ## run the gates that need no test: style, types, layers, shape
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/lint-imports --no-logo --config tools/cycles.toml
	$(BIN)/python -m tools.shape

coverage: $(DEV) ## judge the coverage that the last test run measured
	@find . -maxdepth 1 -name '.coverage.*' -size 0 -delete # left by a process that a test killed
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 \
	  --include='coldseal/core/*,coldseal/signing/*,coldseal/gateway/store/*'

docs: $(DEV) ## make reference pages and index, then check every document
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.index
	$(BIN)/python -m pytest tests/project $(ARGS)

bench: $(DEV) ## measure, as ratios within one run
	$(BIN)/python -m bench $(ARGS)

.PHONY: bench-peers
bench-peers: $(DEV) ## measure gateways of others beside coldseal, with the same faults
	@$(BIN)/python -m tools.system_parts peers
	$(BIN)/python -m bench.peers $(ARGS)

soak: $(DEV) ## run the long campaigns: crashes and faults
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -m soak --timeout=7200 $(ARGS)

pins: ## compile the requirement files anew (needs uv)
	tools/pins

clean: ## remove everything that make made
	rm -rf .parts .venv .venv-other .venv-strangers .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf build dist htmlcov .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "coldseal needs Python 3.11 or later; PYTHON=… selects it")'
	@$(PYTHON) -m tools.system_parts venv
	@echo "making $(VENV) with $$($(PYTHON) -V); this happens once"
	@$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements/build.txt requirements/runtime.txt pyproject.toml | $(BIN)/python
	@echo "installing what coldseal runs on, pinned by hash"
	@$(PINNED) -r requirements/build.txt -r requirements/runtime.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.txt requirements/hardware.txt requirements/tpm.txt $(RUNTIME)
	@echo "installing what tests and checks it, pinned by hash"
	@$(PINNED) -r requirements/dev.txt -r requirements/hardware.txt
	@$(BIN)/python -m tools.system_parts hardware
	@echo "building the door to the TPM; this happens once"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --require-hashes --no-deps --no-build-isolation -r requirements/tpm.txt || [ "$$CI" != true ]
	@touch $@
