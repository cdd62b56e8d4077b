# Needs Python 3.11 or newer, make and git. `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS ?= dev
# Where it is set, each of the hundreds of processes of a run compiles the project anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo serve lint test long checker hostile big matrix wheel tox clients coverage faults bench clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=24'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

install: $(INSTALLED) ## the package and its development extras in .venv

demo: $(INSTALLED) ## profile a CSV over HTTP: make demo [FILE=path.csv]
	@$(BIN)/python manage.py demo $(if $(FILE),--file "$(FILE)")

serve: $(INSTALLED) ## keep web server and worker running: make serve [PORT=8000]
	@PORT=$(or $(PORT),8000) $(BIN)/python manage.py demo --serve

lint: $(INSTALLED) ## style, types, layers, migrations
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

# What takes minutes: each has a target of its own, or is one of `make long`.
LONG := checker or plans or packaging or projects or clients or faults or hostile
# Most of a test's time is waiting for other processes. A module stays in one process.
PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder
test: lint ## lint, the suite on SQLite with real workers, its coverage
	$(BIN)/python -m pytest -q $(PARALLEL) -m "not ($(LONG))" --cov --cov-report=
	$(MAKE) --no-print-directory coverage

long: $(INSTALLED) ## the rest of the suite: checker, plans, packaging, projects, clients, faults in short, hostile
	$(BIN)/python -m pytest -q $(PARALLEL) -m "($(LONG)) and not extras"

checker: $(INSTALLED) ## the lifecycle in full: more interleavings, and 500 random runs
	HYPOTHESIS_PROFILE=full $(BIN)/python -m pytest -q -n 2 tests/lifecycle

hostile: $(INSTALLED) ## what strangers may try, each odd request to both kinds of server
	HOSTILE_FULL=1 $(BIN)/python -m pytest -q $(PARALLEL) -m hostile

big: $(INSTALLED) ## gigabytes through real servers; prints what memory they took
	$(BIN)/python -m pytest tests/system/test_big_files.py -m big

matrix: $(INSTALLED) ## each database x broker x pool, and the table of it in docs/matrix.rst
	ASYNC_REPLY_REQUIRE_SERVICES=1 $(BIN)/python -m pytest tests/matrix \
		--cells=all --write-matrix=docs/matrix.rst

wheel: $(INSTALLED) ## the built package: contents, types, README to the letter, the suite
	$(BIN)/python -m pytest -q -m packaging
	$(BIN)/tox run -q -e wheel,min

# Pythons that pyenv keeps are not on the PATH.
PYTHONS = $(wildcard $(shell pyenv root 2>/dev/null)/versions/3.1[1-9]*/bin/python)
tox: $(INSTALLED) ## each Python and Django, the oldest of each dependency, none but the required
	$(BIN)/tox run $(if $(PYTHONS),--discover $(PYTHONS))

clients: $(INSTALLED) ## clients that others wrote, and the table of them in docs/clients.rst
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[clients]'
	ASYNC_REPLY_REQUIRE_SERVICES=1 $(BIN)/python -m pytest tests/clients \
		--write-clients=docs/clients.rst

COMPLETE := async_reply/lifecycle.py,async_reply/documents.py,async_reply/protocol/headers.py,async_reply/services/*
# The turns of a quota depend on the database.
coverage:
	$(BIN)/coverage report
	$(BIN)/coverage report --include="$(COMPLETE)" --omit=async_reply/services/quotas.py \
		--fail-under=100

faults: $(INSTALLED) ## the fault suite in full, about an hour; renews docs/faults.rst
	ASYNC_REPLY_REQUIRE_SERVICES=1 FAULTS_FULL=1 $(BIN)/python -m pytest tests/faults -p no:randomly
	$(BIN)/python -m tests.faults.report

bench: $(INSTALLED) ## reprint what polling and progress cost: make bench [ARGS='--write --plot']
	$(BIN)/python -m benchmarks.polling $(ARGS)
	$(BIN)/python -m benchmarks.progress

clean: ## remove what the other targets made
	rm -rf $(VENV) .tox .demo .faults build dist *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
