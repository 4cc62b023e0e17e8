# The two commands are `make demo` and `make test`; the others are their parts.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEV := $(VENV)/.dev
LOCK := requirements-dev.lock

.PHONY: demo test chaos coverage bench bench-full bench-quick benchmark benchmark-build-log benchmark-difference benchmark-events benchmark-snapshot lint types imports format lock clean

demo: $(INSTALLED)
	$(BIN)/python scripts/demo.py

# The chaos test has many runs under way by itself; the others go side by side, a file each.
test: $(DEV)
	$(BIN)/python -m pytest tests/unit tests/integration --numprocesses auto --dist loadfile
	$(BIN)/python -m pytest tests/chaos

# The story of the chaos test with more seeds: make chaos SEEDS=2000
SEEDS ?= 200
chaos: $(DEV)
	$(BIN)/python -m pytest tests/chaos --seeds $(SEEDS)

coverage: $(DEV)
	$(BIN)/python -m pytest tests/unit tests/integration --numprocesses auto --dist loadfile \
		--cov --cov-report=term-missing:skip-covered

# Other sizes, and parts of it: make bench BENCH='--events 100000 --only contest'
BENCH ?=
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(BENCH)

bench-full: $(INSTALLED)
	$(BIN)/python -m benchmarks --full $(BENCH)

bench-quick: $(INSTALLED)
	$(BIN)/python -m benchmarks --quick $(BENCH)

benchmark: $(INSTALLED)
	$(BIN)/python -m benchmarks.start

benchmark-events: $(INSTALLED)
	$(BIN)/python -m benchmarks.events --run

benchmark-build-log: $(INSTALLED)
	$(BIN)/python -m benchmarks.build_log

benchmark-snapshot: $(INSTALLED)
	$(BIN)/python -m benchmarks.snapshot

# Ids in the model and in the segment: make benchmark-difference SIZES="1000000 10000000"
SIZES ?=
benchmark-difference: $(INSTALLED)
	$(BIN)/python -m benchmarks.difference $(SIZES)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

imports: $(DEV)
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dbt --extra sandbox --group dev --universal --python-version 3.10 \
		--no-emit-index-url --custom-compile-command 'make lock' --upgrade --output-file $(LOCK)

$(INSTALLED): pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[dbt,sandbox]'
	touch $(INSTALLED)

$(DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --group dev
	touch $(DEV)

clean:
	rm -rf $(VENV) .demo .benchmark target logs build dbt_packages .coverage* htmlcov .hypothesis .*_cache
