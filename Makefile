# Everything below sets itself up in .venv from a fresh clone; Python >= 3.11 and make are all it needs.

VENV := .venv
BIN := $(VENV)/bin
FILES := $(VENV)/package-files
SOURCES := $(shell find core kernels -name '*.py' -o -name py.typed)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint types unit coverage bench bench-quick warm clean FORCE
.DELETE_ON_ERROR:

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed-for-use  ## write 5 million auction events and run a pipeline over them (ARGS='--events 1000000')
	@$(BIN)/windrow demo $(ARGS)

test: lint types unit  ## everything: lint, types, imports, all tests

lint: $(VENV)/installed-for-tests  ## ruff check, ruff format --check, import contracts
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== imports"
	@$(BIN)/lint-imports --no-logo

types: $(VENV)/installed-for-tests  ## mypy --strict
	@echo "== mypy"
	@$(BIN)/mypy -p windrow

unit: warm  ## pytest on two processes; a skipped test is a failure (ARGS='-k log')
	@echo "== pytest"
	@$(BIN)/python -m pytest -n 2 --fail-on-skip $(ARGS)

warm: $(VENV)/installed-for-tests
	@echo "== kernels"
	@$(BIN)/windrow warmup

coverage: warm  ## which lines and branches of core/ the tests reach (compiled kernels are not seen)
	@$(BIN)/python -m coverage run -m pytest $(ARGS)
	@$(BIN)/python -m coverage report

bench: warm  ## everything against the machine's limits and other engines, about 27 minutes; writes docs/benchmarks.md
	@$(BIN)/python -m benchmarks suite $(ARGS)

bench-quick: warm  ## the same in 3 minutes at small sizes; docs/benchmarks.md stays as it is
	@$(BIN)/python -m benchmarks suite --quick $(ARGS)

clean:  ## remove .venv, builds, caches and the demo's data
	rm -rf $(VENV) build dist *.egg-info demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "making $(VENV) with $$($$python --version)"; \
	        exec $$python -m venv $(VENV); \
	    fi; \
	done; \
	echo "windrow needs Python 3.11 or newer; none found (set PYTHON=/path/to/python)" >&2; exit 1

# The list changes only when files come, go or move, or the checkout itself moves: an editable install is a tree of
# absolute links to the files there were when it was made.
$(FILES): FORCE | $(BIN)/python
	@{ pwd; find core kernels -name '*.py' -o -name py.typed; } | LC_ALL=C sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# build/ is removed first: setuptools would put files into the install that are only there any more.
$(VENV)/installed-for-tests: pyproject.toml setup.cfg $(FILES)
	@echo "installing windrow with what tests and lint need (a minute the first time)"
	@rm -rf build *.egg-info
	@$(PIP) --editable '.[test,lint]' --config-settings editable_mode=strict
	@touch $@

# Where the editable install for tests is, it serves the demo as well.
$(VENV)/installed-for-use: pyproject.toml setup.cfg $(SOURCES) $(FILES)
	@if [ -e $(VENV)/installed-for-tests ]; then \
	    $(MAKE) --no-print-directory $(VENV)/installed-for-tests; \
	else \
	    echo "installing windrow into $(VENV) (a minute the first time)"; \
	    rm -rf build *.egg-info; \
	    $(PIP) .; \
	fi
	@touch $@
