# make demo | test | check: nothing but Python 3.11+ and make is needed beforehand.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SPARK := .venv-spark

.PHONY: demo test test-slow reference spark check lint docs bench clean help

help:
	@echo "make demo   run the whole quickstart job against local simulators"
	@echo "make test   run the tests"
	@echo "make check  run everything that CI runs"
	@echo "make docs   write the pages that are made from the code"
	@echo "make bench  run the benchmarks (quick)"

demo: $(STAMP)
	$(BIN)/consentry demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow"

# The long tests; `make test-slow MINUTES=2` stops beginning more of them after that time, and each day begins with others.
test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m slow $(if $(MINUTES),--minutes $(MINUTES))

# The vendors' own packages, which some tests compare our requests with.
reference: $(STAMP)
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(BIN)/python --group reference; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --group reference; \
	fi

# Connected components on Spark, which needs Java 17 or newer and half a gigabyte for a Python of its own.
spark: $(STAMP)
	@command -v java >/dev/null || { echo "Spark needs Java: apt-get install openjdk-17-jre-headless"; exit 1; }
	@test -x $(SPARK)/bin/python || $(PYTHON) -m venv $(SPARK)
	$(SPARK)/bin/python -m pip install --quiet --disable-pip-version-check "pyspark>=4.1"
	CONSENTRY_SPARK_PYTHON=$(SPARK)/bin/python $(BIN)/python -m pytest -q -k spark tests/identity/test_components.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright --warnings
	$(BIN)/lint-imports

check: test lint

docs: $(STAMP)
	$(BIN)/python -m consentry.cli.reference > docs/commands.md
	$(BIN)/python -m consentry.connectors.pages

bench: $(STAMP)
	$(BIN)/python benchmarks/bench_end_to_end.py --quick

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another one: make PYTHON=python3.12"; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
		uv pip install --quiet --python $(BIN)/python --editable . --group dev; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1" && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev; \
	fi
	@touch $@

clean:
	rm -rf $(VENV) .consentry build dist *.egg-info
