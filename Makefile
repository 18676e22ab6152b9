# The two commands to begin with: `make up` runs everything, `make test` tests everything.
PYTHON ?= python3
VENV := .venv/bin
N ?= 2000

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev up demo services status test check requirements messages \
	run-celery-worker run-celery-beat stop-celery celery-status celery-purge \
	bench-send bench-fair bench-prepare bench-scale bench-history \
	bench-import bench-segments bench-track bench-verify bench-report chaos

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:
	@$(PYTHON) scripts/setup.py local

setup-dev:
	@$(PYTHON) scripts/setup.py dev

up: setup ## run everything in the foreground until Ctrl-C
	@exec $(VENV)/python -m core.local up

demo: setup ## the main job without a browser: make demo N=20000
	@exec $(VENV)/python -m core.local demo --recipients $(N)

services: setup ## run PostgreSQL and Valkey alone until Ctrl-C
	@exec $(VENV)/python -m core.local services

status: setup ## say whether it runs, and where
	@$(VENV)/python -m core.local status

test: setup-dev ## the whole test suite
	@$(VENV)/python -m pytest -n auto --dist loadgroup

check: setup-dev ## linters, types, import layers, migrations, translations
	@scripts/check.sh

requirements: setup-dev ## compile the requirements files from pyproject.toml
	@requirements/compile.sh

messages: setup-dev ## collect the texts to translate into locale/
	@$(VENV)/python manage.py messages

run-celery-worker: setup ## the four worker pools, in the background
	@./start_celery_workers.sh start

run-celery-beat: setup ## beat, in the foreground
	@exec $(VENV)/python -m celery -A core.celery beat --loglevel=info --pidfile=

stop-celery: ## stop what the scripts started
	@./start_all_workers.sh stop

celery-status: setup ## send a canary through every queue
	@$(VENV)/python manage.py pools

celery-purge: setup ## forget all queued messages (asks first; the database keeps the work)
	@$(VENV)/python -m celery -A core.celery purge -Q import,email,campaigns,default

# Sizes come from the environment or the command line, see docs/performance.md.
bench-send: setup-dev ## letters a second beside smtp-source, Django and OpenSSL: make bench-send N=20000
	@exec $(VENV)/python -m benchmarks.send

bench-fair: setup-dev ## how long a small campaign waits behind a large one
	@exec $(VENV)/python -m benchmarks.fair

bench-prepare: setup-dev ## seconds and memory to prepare a large campaign
	@exec $(VENV)/python -m benchmarks.prepare

bench-scale: setup-dev ## letters a second at 10 thousand, 100 thousand and a million
	@exec $(VENV)/python -m benchmarks.scale

bench-history: setup-dev ## letters a second on top of 20 million old deliveries
	@exec $(VENV)/python -m benchmarks.history

bench-segments: setup-dev ## milliseconds to count a segment and to show the contact list
	@exec $(VENV)/python -m benchmarks.segments

bench-import: setup-dev ## rows a second beside a plain psycopg importer and openpyxl
	@exec $(VENV)/python -m benchmarks.imports

bench-track: setup-dev ## pixels and links a second beside an empty application, while the writer is killed
	@exec $(VENV)/python -m benchmarks.track

bench-verify: setup-dev ## addresses verified a second, and how truly
	@exec $(VENV)/python -m benchmarks.verify

bench-report: setup-dev ## milliseconds of the pages of reports at 10 million events
	@exec $(VENV)/python -m benchmarks.reports

chaos: setup-dev ## kill, flush, crash and refuse in the middle of campaigns: nothing lost, nothing doubled
	@exec $(VENV)/python -m benchmarks.chaos
