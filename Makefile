# Two commands on a fresh machine: make demo, make test.  Needs Python ≥ 3.11 and its venv module.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Most tests wait for processes and sockets: more workers than cores, a file to one worker.
PYTEST_ARGS ?= -n 3 --dist loadfile
# The long run: CHAOS_ARGS="--kills 2000 --messages 200000"
CHAOS_ARGS ?=
# FUZZ_ARGS="--minutes 60", and with the extra [fuzz] "--engine atheris"
FUZZ_ARGS ?=

.PHONY: demo test check format bench chaos fuzz clean

demo: $(VENV)/.runs
	$(BIN)/sortingoffice demo

test: $(VENV)/.tests
	$(BIN)/pytest $(PYTEST_ARGS)

check: $(VENV)/.tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.tests
	$(BIN)/python -m tests.bench

chaos: $(VENV)/.tests
	$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

fuzz: $(VENV)/.tests
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A stamp for each install, so that the second time is quick; a change of versions installs anew.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: name a newer one, make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.tests: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@ $(VENV)/.runs
