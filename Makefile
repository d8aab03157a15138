# One-word targets; each works as the very first command in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# two processes, a thread each: the suite is made for two cores
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
LAVA := .venv-lava

.PHONY: demo test test-all check lava bench clean

demo: $(INSTALLED)
	$(BIN)/python -m experiments.demo

test: check $(LAVA)/installed
	$(PYTEST) -m "not slow"

test-all: check $(LAVA)/installed
	$(PYTEST)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
		{ echo "SPMN needs Python 3.10 to 3.13; say which with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

bench: $(INSTALLED)
	$(BIN)/python -m experiments.bench
	$(BIN)/python -m experiments.growth

# An environment of its own: lava-nc 0.10.0 wants older versions than the rest, and needs none of them.
lava: $(LAVA)/installed

$(LAVA)/installed: constraints-lava.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
		{ echo "Lava needs Python 3.10 to 3.13; say which with: make lava PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv --clear $(LAVA)
	$(LAVA)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lava.txt \
		numpy scipy networkx asteval h5py
	$(LAVA)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lava.txt \
		--ignore-requires-python --no-deps lava-nc
	@touch $@

clean:
	rm -rf $(VENV) $(LAVA) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
