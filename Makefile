# `make` lists what there is. Everything installs what it needs into .venv first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: faults model fuzz fuzz-guided audit mutants help venv lint collected format test demo docs wheel versions floors bench scale matrix thirty soak matrix-celery matrix-containers clean clients slow browser awscli docs-test endurance

# pytest-xdist workers for the tests that can run beside each other; most of the time they wait.
WORKERS ?= 5
# KEEP=1 leaves the demo's Airflow up.
KEEP ?= 0
# More arguments for pytest: make test PYTEST="-k emr -x".
PYTEST ?=

# Each process of a test would compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

# The first interpreter that is new enough, has venv, and is one that Airflow runs on.
SUITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for each in python3 python3.11 python3.12 python3.13; do \
	"$$each" -c '$(SUITS)' 2>/dev/null && { command -v "$$each"; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(READY) ## Make .venv with everything in it

$(READY): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] && "$(PYTHON)" -c '$(SUITS)' || { \
		echo "Needs Python 3.11, 3.12 or 3.13 with its venv module; none found. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-compile \
		--editable '.[mrs,test,lint,docs,matrix]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # pip does it with one core
	touch $@

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Let ruff mend what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

test: $(READY) ## lint, then the tests: side by side, then those that need an Airflow to themselves
	@$(MAKE) --no-print-directory --jobs 2 lint collected
	$(BIN)/python -m pytest -m 'not airflow and not slow' --numprocesses $(WORKERS) $(PYTEST) || \
		$(call alone,not airflow and not slow)
	$(BIN)/python -m pytest tests/airflow -m 'airflow and not slow' $(PYTEST) || \
		$(call alone,airflow and not slow) tests/airflow

# mypy takes one core: meanwhile pytest compiles the tests, which each of its workers would do at the same time.
collected: $(READY)
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null || true

slow: $(READY) ## The tests that `make test` leaves out: over the other services, and a sweep of thousands
	$(BIN)/python -m pytest -m 'slow and not airflow' --ignore tests/faults --numprocesses $(WORKERS) $(PYTEST) || \
		$(call alone,slow and not airflow) --ignore tests/faults
	$(BIN)/python -m pytest -m 'slow and airflow' --ignore tests/clients --ignore tests/faults $(PYTEST) || \
		$(call alone,slow and airflow) --ignore tests/clients --ignore tests/faults

# On a busy machine a test may wait in vain for what others delay: what failed has to pass by itself.
alone = $(BIN)/python -m pytest -m '$(1)' --last-failed --last-failed-no-failures none $(PYTEST)

demo: $(READY) ## Start a local cloud and Airflow, cancel jobs in it, show that they ended (KEEP=1: stay up)
	KEEP=$(KEEP) $(BIN)/python -m tests.demo

docs: $(READY) ## docs/_build/html; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

docs-test: $(READY) ## The blocks of the documents, and the quickstart as it is pasted (2 minutes)
	$(BIN)/python -m pytest tests/docs $(PYTEST)

wheel: $(READY) ## Wheel and sdist in dist/
	$(BIN)/python -m hatchling build -d dist

$(VENV)/.bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[bench]'
	touch $@

# More arguments for it: make bench BENCH=--full, make bench BENCH="--only waits".
BENCH ?=

bench: $(VENV)/.bench ## All figures, beside the stock way and the quotas; writes docs/benchmarks (10 minutes)
	$(BIN)/python -m benchmarks $(BENCH)

# More arguments for it: make endurance ENDURANCE="--minutes 60 --waits 5000".
ENDURANCE ?=

endurance: $(READY) ## Thousands of deferred tasks in a triggerer while everything fails by turns (11 minutes)
	@$(POSTGRESQL)
	$(BIN)/python -m benchmarks.endurance $(ENDURANCE)

scale: $(READY) ## A sweep over 100,000 jobs, with the published quotas (6 minutes)
	$(BIN)/python -m benchmarks.reaper_scale

POSTGRESQL := command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql; }

# More arguments for the matrix: make matrix MATRIX="--only deferred --repeat 3".
MATRIX ?= --guard both

matrix: $(READY) ## Faults into a real Airflow on PostgreSQL, with the guard and without (half an hour)
	@$(POSTGRESQL)
	$(BIN)/python -m tests.matrix $(MATRIX)

# More arguments for it: make thirty THIRTY="--count 60".
THIRTY ?=

thirty: $(READY) ## Thirty tasks at once, each killed in another way: none left, none wrong (3 minutes)
	@$(POSTGRESQL)
	$(BIN)/python -m tests.matrix.thirty $(THIRTY)

# More arguments for the soak: make soak SOAK="--minutes 10 --seed 8".
SOAK ?= --minutes 30 --seed 7

soak: $(READY) ## Random faults on hundreds of tasks, then every job is judged (35 minutes)
	@$(POSTGRESQL)
	$(BIN)/python -m tests.soak $(SOAK)

$(VENV)/.faults: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt gevent eventlet
	touch $@

faults: $(VENV)/.faults ## Faults of host, process and Airflow's servers; writes docs/faults.csv; root (4 minutes)
	@$(POSTGRESQL)
	FAULTS_TABLE=docs/faults.csv $(BIN)/python -m pytest tests/faults $(PYTEST)

model: $(READY) ## Every order of events of one task, with the package's own decisions; writes docs/model-results.txt
	$(BIN)/python -m tests.model

# FUZZ says how many times more examples are tried than in make test.
FUZZ ?= 30

fuzz: $(READY) ## Many more examples of what others may write: replies, records, addresses, inputs (slow)
	FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/fuzz --timeout 1200 --numprocesses 2 $(PYTEST)

.versions/guided/.ready: pyproject.toml constraints.txt
	"$(PYTHON)" -m venv .versions/guided
	.versions/guided/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[mrs,test]' 'atheris>=2.3'
	touch $@

# Seconds: make fuzz-guided SECONDS_OF_FUZZ=3600.
SECONDS_OF_FUZZ ?= 300

fuzz-guided: .versions/guided/.ready ## Addresses, owners, labels and records, guided by coverage (5 minutes)
	.versions/guided/bin/python -m tests.fuzz.guided -max_total_time=$(SECONDS_OF_FUZZ) -timeout=30

.versions/audit/.ready:
	"$(PYTHON)" -m venv .versions/audit
	.versions/audit/bin/python -m pip install --quiet --disable-pip-version-check \
		'pip-audit>=2.10' 'cyclonedx-bom>=7' 'pip-licenses>=5.5'
	touch $@

# Of what this package itself asks for, in the versions of constraints.txt; docs/security.rst says how to read it.
OURS := import importlib.metadata as m, re; \
	names = [re.match('[A-Za-z0-9._-]+', each)[0] for each in m.requires('airflow-cancel-provider') or [] if 'extra ==' not in each or re.search('extra == .mrs.', each)]; \
	print(' '.join(sorted(set(names))))

audit: $(READY) .versions/audit/.ready ## Known vulnerabilities, licences and a bill of materials (dist/sbom.json) of what we depend on
	mkdir -p dist
	.versions/audit/bin/pip-licenses --python $(BIN)/python --packages $$($(BIN)/python -c "$(OURS)") \
		--format plain-vertical --partial-match --output-file dist/licences.txt \
		--allow-only 'Apache;MIT;BSD;Python Software Foundation;Mozilla Public License'
	.versions/audit/bin/cyclonedx-py environment --output-format JSON --output-file dist/sbom.json $(BIN)/python
	@echo "Written: dist/licences.txt, dist/sbom.json"
	.versions/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip > dist/vulnerabilities.txt || { \
		cat dist/vulnerabilities.txt; echo "pip-audit found vulnerabilities, or could not ask for them" >&2; exit 1; }
	@! grep 'could not be audited' dist/vulnerabilities.txt || { \
		echo "NOT AUDITED: the vulnerability service does not know the packages above, or can't be reached" >&2; exit 1; }

.versions/mutants/.ready: pyproject.toml constraints.txt
	"$(PYTHON)" -m venv .versions/mutants
	.versions/mutants/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[mrs,test]' 'cosmic-ray>=8.7' 'coverage>=7.6'
	touch $@

# Which modules, and at most how many changes of each: make mutants MUTANTS="reaper/judge --most 50".
MUTANTS ?=

mutants: .versions/mutants/.ready ## Change the decisions one at a time: which changes do the fast tests miss? (hours; MUTANTS)
	.versions/mutants/bin/python -m tests.mutation $(MUTANTS)

# More arguments for it: make matrix-celery CELERY="--only 'host lost' --repeat 3".
CELERY ?=

$(VENV)/.celery: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[celery]'
	touch $@

matrix-celery: $(VENV)/.celery ## Faults into Airflow on Celery workers, each on a host of its own; root (15 minutes)
	@{ ls /usr/lib/postgresql/*/bin/initdb && command -v redis-server ip nsenter; } >/dev/null 2>&1 || { \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		postgresql redis-server iproute2 util-linux; }
	$(BIN)/python -m tests.matrix_celery $(CELERY)

# More arguments for it: make matrix-containers CONTAINERS="--only 'pod deleted' --reaper off".
CONTAINERS ?=

matrix-containers: $(READY) ## Faults into tasks in containers; writes docs/containers.csv; root (30 minutes)
	@{ ls /usr/lib/postgresql/*/bin/initdb && command -v dumb-init unshare; } >/dev/null 2>&1 || { \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		postgresql dumb-init util-linux; }
	$(BIN)/python -m tests.matrix_containers $(CONTAINERS)

# What people submit jobs with; aioboto3 allows one release of botocore, so they have a venv of their own.
CLIENTS := awswrangler luigi mrjob dagster-aws aioboto3 opentelemetry-distro \
	opentelemetry-instrumentation-botocore ddtrace

.versions/clients/.ready: tests/clients/constraints.txt pyproject.toml
	"$(PYTHON)" -m venv .versions/clients
	.versions/clients/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $< --editable '.[mrs,test]' $(CLIENTS)
	touch $@

clients: .versions/clients/.ready ## Jobs that other libraries submit: recorded, labelled, cancelled (Python 3.11; slow)
	.versions/clients/bin/python -m pytest -W default tests/clients $(PYTEST)

.versions/awscli/.ready: tests/aws_cli/requirements.txt
	"$(PYTHON)" -m venv .versions/awscli
	.versions/awscli/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

awscli: $(READY) .versions/awscli/.ready ## The AWS CLI and ours, compared; writes docs/cli-comparison.txt (10 minutes)
	$(BIN)/python -m pytest tests/aws_cli --numprocesses $(WORKERS) $(PYTEST)

# QUICK=1: unit tests and 24 cells of the matrix. More arguments: make versions VERSIONS="--only 3.1.8".
QUICK ?=
VERSIONS ?=
THROUGH := $(BIN)/python -m tests.versions --workers $(WORKERS)

versions: $(READY) ## The tests on every Airflow, Python and botocore; writes docs/versions.csv (hours; QUICK=1)
	@$(POSTGRESQL)
	$(THROUGH) $(if $(QUICK),--quick) $(VERSIONS)

floors: $(READY) ## What depends on versions, with the oldest of everything that we accept (slow)
	$(THROUGH) --only 'floor-*' $(VERSIONS)

$(VENV)/.browser: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[browser]'
	touch $@

# Where screenshots go: make browser PICTURES=docs/images takes those of the docs anew.
PICTURES ?=

browser: $(VENV)/.browser ## Connection form and pages of a real Airflow, in Chromium, with several users
	@command -v chromium >/dev/null || { \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver; }
	PICTURES=$(PICTURES) $(BIN)/python -m pytest tests/browser -m browser $(PYTEST)

clean: ## Remove what was built; not .venv and .versions
	rm -rf build dist docs/_build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.v*' -prune -exec rm -rf {} +
