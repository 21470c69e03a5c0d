# make demo   two minutes from nothing to a leaderboard
# make test   every test and check; what .ci/run calls
# make bench  speed and memory beside peers, into benchmarks/RESULTS.md, and two pages on the packed engine; half an hour
# make bench-storage  large studies and many processes, into benchmarks/STORAGE.md; half an hour, with PostgreSQL
# make quality  time to a score beside Optuna scripts, into benchmarks/QUALITY.md; an hour on two quiet cores
# make honesty  the acceptance experiments of the statistics at full size, into docs/honesty.md; a quarter of an hour on one core
# make honesty-data DATA=folder  real data end to end, into the same page; ten minutes
# make chaos  120 processes killed, servers stopped, disks filled; prints what it cost; half an hour on a quiet machine
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
DEMO_STORAGE := sqlite:///foldtune.db
# One test more at once than there are cores: some wait, for processes or for time to pass.
TESTS_AT_ONCE := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST := $(BIN)/pytest -n $(TESTS_AT_ONCE) --dist worksteal

.PHONY: demo test unit check fix bench bench-storage quality honesty honesty-data chaos clean
.DEFAULT_GOAL := demo

demo: $(VENV)/installed
	$(BIN)/foldtune run studies/digits.yaml --storage $(DEMO_STORAGE)

test: $(VENV)/installed check
	$(PYTEST)

unit: $(VENV)/installed
	$(PYTEST) -m "not slow"

check: $(VENV)/installed
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/installed
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

bench: $(VENV)/bench
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.slices
	$(BIN)/python -m benchmarks.profile

bench-storage: $(VENV)/installed
	$(BIN)/python -m benchmarks.storage

quality: $(VENV)/installed
	$(BIN)/python -m benchmarks.quality

honesty: $(VENV)/bench
	$(BIN)/python -m benchmarks.honesty

honesty-data: $(VENV)/bench
	$(BIN)/python -m benchmarks.honesty_data $(DATA)

chaos: $(VENV)/installed
	FOLDTUNE_CHAOS=30 $(BIN)/pytest tests/chaos --durations 10

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(VENV)/bench: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[bench]"
	touch $@

clean:
	rm -rf $(VENV)
