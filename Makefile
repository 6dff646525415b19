# Needs make and Python 3.11 or later; the rest is installed into .venv.
PYTHON ?= python3
PORT ?= 8000

BIN := .venv/bin
# The requirements are there; and so is calls/quick, where there is a C compiler.
REQUIRED := .venv/.required
INSTALLED := .venv/.installed
PINS := requirements.txt requirements-dev.txt handlers/requirements.txt

# Some command lines are long; make shows what they print, not them.
.SILENT:
.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what there is to make
	awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## Set up .venv (again only when the requirements have changed)

$(INSTALLED): $(REQUIRED) calls/quick/_quick.c scripts/quick.py
	$(BIN)/python scripts/quick.py
	touch $@

$(REQUIRED): $(PINS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Callstream needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	    echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	echo "Setting up .venv (once, about a minute)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -r handlers/requirements.txt
	touch $@

.PHONY: run
run: $(INSTALLED) ## Serve on http://127.0.0.1:8000 and place a simulated call (PORT=8001 for another port)
	$(BIN)/python scripts/dotenv.py
	exec $(BIN)/python manage.py rundemo --port $(PORT)

.PHONY: handler
handler: $(INSTALLED) ## Write a handler to begin with, its test and a scenario (NAME=order_desk)
	$(BIN)/python scripts/dotenv.py
	$(BIN)/python manage.py new_handler $(or $(NAME),$(error Name it: make handler NAME=order_desk))

.PHONY: scenario
scenario: $(INSTALLED) ## Play a scenario of handlers/ to the server that runs (NAME=order_desk)
	TWILIO_AUTH_TOKEN="$${TWILIO_AUTH_TOKEN:-$$(sed -n "s/^TWILIO_AUTH_TOKEN=['\"]\?\([^'\"]*\).*/\1/p" .env)}" \
	    $(BIN)/python -m simulator run handlers/$(or $(NAME),$(error Name it: make scenario NAME=order_desk)).yaml $(ARGS)

.PHONY: test
test: $(INSTALLED) ## Run the tests that start no server and no browser, on SQLite (5 minutes on two cores; ARGS="-k voicemail")
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/test quick $(ARGS)

.PHONY: test-all
test-all: $(INSTALLED) ## Run all tests, on PostgreSQL, Redis and Chromium too where these are there (30 minutes)
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/test all $(ARGS)

.PHONY: faults
faults: $(INSTALLED) ## End and starve servers with 30 streams, again and again, and print what was lost (15 minutes)
	$(BIN)/python -m tests.trials.faults $(ARGS)

.PHONY: attack
attack: $(INSTALLED) ## Attack two workers behind Caddy with 20 calls running, and print what callers notice (4 minutes)
	$(BIN)/python scripts/dotenv.py
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.trials.attack $(ARGS)

.PHONY: soak
soak: $(INSTALLED) ## Half an hour of everything at once: calls, staff, restarts, outages (ARGS="--minutes 5 --calls 30")
	$(BIN)/python scripts/dotenv.py
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.trials.soak $(ARGS)

.PHONY: deploy-trial
deploy-trial: $(INSTALLED) ## Replace two workers behind Caddy under 40 calls, and print what callers notice (3 minutes)
	$(BIN)/python scripts/dotenv.py
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.trials.deploys $(ARGS)

.PHONY: bench
bench: $(INSTALLED) ## Count the calls that one core carries, beside other servers (25 minutes; ARGS=gate: 1 minute)
	$(BIN)/python scripts/dotenv.py
	$(BIN)/python manage.py bench_streams $(ARGS)

.PHONY: check
check: $(INSTALLED) ## Check style, types, layers, migrations, production settings and the pure modules' coverage
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

.PHONY: format
format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

.PHONY: requirements
requirements: $(INSTALLED) ## Choose new versions within the ranges of pyproject.toml
	$(BIN)/python scripts/pins.py
	$(MAKE) --no-print-directory install
