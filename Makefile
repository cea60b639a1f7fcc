# `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help run split test smoke services test-services chaos bench pictures lint format protos release-contracts lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

run: .venv/runtime ## run the shop at 127.0.0.1:8000 and gRPC at :50051 (PORT=… GRPC_PORT=…)
	@exec $(BIN)/python -m tools.supervisor

split: .venv/runtime ## run one deployment per context, the gateway in front (CHANNEL=rest or grpc)
	@SHOP_PLACEMENT=split exec $(BIN)/python -m tools.supervisor

test: .venv/dev ## run the test suite
	@$(BIN)/python -m pytest

SMOKE := tests/journeys/test_placements.py::test_every_placement_answers_alike[split-grpc]
SMOKE += tests/chaos/test_kills.py tests/orders/test_price.py
smoke: .venv/dev ## prove the main promises: a split answers alike, kills lose nothing, an order's price
	@LONG_TESTS=1 $(BIN)/python -m pytest -n0 -v -v $(SMOKE:%='%')

services test-services: export DATABASE_URL ?= postgres://postgres@127.0.0.1:5432/postgres
services test-services: export BROKER_URL ?= amqp://guest:guest@127.0.0.1:5672//
services test-services: export CACHE_URL ?= redis://127.0.0.1:6379/0
services: .venv/dev ## check PostgreSQL, RabbitMQ and Redis, local or by the URLs
	@$(BIN)/python -m tests.services

# Whole shops run after the rest: a test's long transaction holds back the events of all databases
# of one PostgreSQL.
RUNNING := tests/chaos tests/journeys/test_kafka.py tests/journeys/test_placements.py
RUNNING += tests/test_supervisor.py tests/front/test_attacks.py tests/differential
RUNNING += tests/topology/test_started.py tests/edge/test_shop.py
BEHIND_NGINX := tests/journeys/test_placements.py::test_the_shop_answers_alike_behind_nginx
test-services: .venv/dev ## run the test suite on PostgreSQL, RabbitMQ and Redis, local or by the URLs
	@$(BIN)/python -m pytest $(RUNNING:%=--ignore %)
	@$(BIN)/python -m pytest -n0 $(RUNNING)
	@$(BIN)/python -m pytest -n0 -m chaos $(BEHIND_NGINX)

chaos: .venv/dev ## run the long tests, with killed and frozen processes
	@$(BIN)/python -m pytest -m chaos

bench: .venv/runtime ## measure the costs beside other systems; write docs/results.md
	@$(BIN)/python -m bench

pictures: .venv/dev ## take the pictures of the README from a running shop (needs Chromium)
	@$(BIN)/python -m tools.pictures

lint: .venv/dev ## check style, types, imports, contracts and generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py topology check
	$(BIN)/python manage.py topology render all --check
	$(BIN)/python manage.py flow --check
	$(BIN)/python manage.py asyncapi --check
	$(BIN)/python manage.py subscriptions --check
	$(BIN)/python -m protos.breaking
	$(BIN)/python protos/generate.py --check

format: .venv/dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: .venv/dev ## generate the code of the contracts
	$(BIN)/python protos/generate.py

release-contracts: .venv/dev ## store the contracts as released: later ones must be compatible
	$(BIN)/python -m protos.breaking --release

lock: ## resolve requirements*.in into hash-locked requirements*.txt (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url requirements.in -o requirements.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -c requirements.txt requirements-kafka.in -o requirements-kafka.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -c requirements.txt -c requirements-kafka.txt requirements-dev.in -o requirements-dev.txt

clean: ## remove files of runs and tests, and the environment
	rm -rf .venv var .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis staticfiles

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The shop needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv .venv

.venv/runtime: requirements.txt | .venv/bin/python
	@echo "Installing what the shop needs (once) …"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt .venv/runtime
	@echo "Installing what its tests need (once) …"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
