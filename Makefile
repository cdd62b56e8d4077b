# Needs Python 3.11 or newer, make and git. `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.demo
INSTALLED := $(VENV)/.installed
EXTRAS ?= dev
# Where it is set, each of the hundreds of processes of a run compiles the project anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo serve docs lint test long slow servers databases checker hostile big matrix wheel tox clients coverage faults bench growth admin polling messages clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

PIP_OPTIONS := --quiet --disable-pip-version-check
define check_python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
endef

# The demo runs from the checkout. It needs no build, only the requirements of the package and of
# the extra "demo".
REQUIREMENTS := import configparser; cfg = configparser.ConfigParser(); cfg.read("setup.cfg"); \
	print(cfg["options"]["install_requires"], cfg["options.extras_require"]["demo"])
# Half of the time would be a pip of its own for .venv. The pip of PYTHON can install there.
$(DEMO): setup.cfg
	$(check_python)
	@echo "Installing the demo into $(VENV), then starting a web server and a worker ..."
	@if $(PYTHON) -m pip --python $(PYTHON) --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --without-pip $(VENV) && pip="$(PYTHON) -m pip --python $(BIN)/python"; \
	else \
		$(PYTHON) -m venv $(VENV) && pip="$(BIN)/python -m pip"; \
	fi && $(PYTHON) -c '$(REQUIREMENTS)' > $(VENV)/demo.txt && \
		$$pip install $(PIP_OPTIONS) --no-compile --requirement $(VENV)/demo.txt
	@touch $@

$(INSTALLED): setup.cfg pyproject.toml
	$(check_python)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_OPTIONS) --upgrade 'pip>=24'
	$(BIN)/python -m pip install $(PIP_OPTIONS) --editable '.[$(EXTRAS)]'
	@touch $(DEMO) $@

install: $(INSTALLED) ## the package and its development extras in .venv

demo: $(DEMO) ## profile a CSV over HTTP: make demo [FILE=path.csv]
	@$(BIN)/python manage.py demo $(if $(FILE),--file "$(FILE)")

serve: $(DEMO) ## the demo page, its web server and a worker, until Ctrl-C: make serve [PORT=8000]
	@PORT=$(or $(PORT),8000) $(BIN)/python manage.py demo --serve

docs: $(INSTALLED) ## the site of the documentation, in build/docs; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "Open build/docs/index.html"

lint: $(INSTALLED) ## style, types, layers, migrations
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

# What takes minutes: each has a target of its own, or is one of `make long`.
LONG := checker or plans or packaging or projects or clients or faults or hostile or instructions
POSTGRESQL := postgres://postgres@127.0.0.1:5432/postgres
MARIADB := mysql://root@127.0.0.1:3306/async_reply
# Most of a test's time is waiting for other processes. A module stays in one process.
PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder
test: lint ## lint, the suite on SQLite with real workers; its coverage with WITH_COVERAGE=1
	$(BIN)/python -m pytest -q $(PARALLEL) -m "not ($(LONG) or matrix or services or slow)" \
		$(if $(WITH_COVERAGE),--cov --cov-report=)
	$(if $(WITH_COVERAGE),$(MAKE) --no-print-directory coverage)

long: $(INSTALLED) ## the rest of the suite: checker, plans, packaging, projects, clients, faults in short, hostile, instructions
	$(BIN)/python -m pytest -q $(PARALLEL) -m "($(LONG)) and not (extras or services or slow)"

servers: $(INSTALLED) ## real workers on PostgreSQL, MariaDB, Redis and RabbitMQ, signals and disturbances included
	$(BIN)/python -m pytest -q $(PARALLEL) -m services tests/system

slow: $(INSTALLED) ## real workers, browsers and clones in tests that take more than ten seconds each
	$(BIN)/python -m pytest -q $(PARALLEL) -m "slow and not (services or big)" tests

databases: $(INSTALLED) ## all of the suite but real workers, on PostgreSQL and on MariaDB
	for url in $(POSTGRESQL) $(MARIADB); do DATABASE_URL=$$url $(BIN)/python -m pytest -q $(PARALLEL) \
		-m "not ($(LONG) or matrix or system or slow)" tests || exit 1; done

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

bench: $(INSTALLED) ## what polls, submits, jobs and waiting clients cost, into docs/performance.rst
	$(BIN)/python -m benchmarks.rivals --write
	$(BIN)/python -m benchmarks.waiting --wake LISTEN/NOTIFY none --write
	$(BIN)/python -m benchmarks.log_readers --write

growth: $(INSTALLED) ## how much slower calls become from 10,000 to 1,000,000 rows
	$(BIN)/python -m benchmarks.growth

admin: $(INSTALLED) ## what each page for operators costs, to 1,000,000 rows, into docs/performance.rst
	$(BIN)/python -m benchmarks.admin --write

polling: $(INSTALLED) ## what polling and progress cost: make polling [ARGS='--write --plot']
	$(BIN)/python -m benchmarks.polling $(ARGS)
	$(BIN)/python -m benchmarks.progress

messages: $(INSTALLED) ## collect the texts of the admin for translation, and compile them; needs gettext
	cd async_reply && $(CURDIR)/$(BIN)/django-admin makemessages --all --no-location --no-obsolete
	cd async_reply && $(CURDIR)/$(BIN)/django-admin compilemessages

clean: ## remove what the other targets made
	rm -rf $(VENV) .tox .demo .faults build dist *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
