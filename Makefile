# The two commands are `make demo` and `make test`; the others are their parts.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEV := $(VENV)/.dev
LOCK := requirements-dev.lock

.PHONY: demo test chaos coverage benchmark benchmark-events benchmark-build-log lint types imports format lock clean

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

benchmark: $(INSTALLED)
	$(BIN)/python -m benchmarks.start

benchmark-events: $(INSTALLED)
	$(BIN)/python -m benchmarks.events --run

benchmark-build-log: $(INSTALLED)
	$(BIN)/python -m benchmarks.build_log

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
	rm -rf $(VENV) .demo target logs build dbt_packages .coverage* htmlcov .hypothesis .*_cache
