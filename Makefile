# make demo   two minutes from nothing to a leaderboard
# make test   every test and check; what .ci/run calls
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
DEMO_STORAGE := sqlite:///foldtune.db

.PHONY: demo test unit check fix clean
.DEFAULT_GOAL := demo

demo: $(VENV)/installed
	$(BIN)/foldtune run studies/digits.yaml --storage $(DEMO_STORAGE)

test: $(VENV)/installed check
	$(BIN)/pytest -n auto

unit: $(VENV)/installed
	$(BIN)/pytest -n auto -m "not slow"

check: $(VENV)/installed
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/installed
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV)
