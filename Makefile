# Two commands do everything on a fresh machine with Python 3.11, make and git:
#   make demo    the main job, narrated
#   make test    all tests; needs Node.js, too

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PARTS := $(VENV)/.parts
DISTRIBUTIONS := $(sort $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml clients/*/pyproject.toml examples/*/pyproject.toml)))
ANVIL := $(shell sed -n 's/^\# npm: //p' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help demo demo-real serve test test-fast bench check format clean

help: ## Say what there is.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(INSTALLED) ## Run the main job from end to end on the embedded defaults.
	$(BIN)/eventserver demo

demo-real: $(PARTS) ## The same on PostgreSQL, Valkey, SeaweedFS and an EVM node.
	$(BIN)/eventserver demo --real

serve: $(INSTALLED) ## Leave a server running, with a certificate and a curl line to try it.
	$(BIN)/python examples/serve.py

test: $(PARTS) ## Run all tests.
	$(BIN)/pytest -n auto --dist loadgroup

test-fast: $(INSTALLED) ## Run the tests that start no server and kill nothing.
	$(BIN)/pytest -n auto --dist loadgroup -m "not slow and not real" --ignore tests/end_to_end

bench: $(PARTS) ## Measure the server against floors on the real parts; BENCH=--help says more.
	$(BIN)/python -m benchmarks $(BENCH)

check: $(INSTALLED) ## Format, lint, types and house rules; needs no server.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/house

format: $(INSTALLED) ## Put the code in its form.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Forget the environment and what the demo and the benchmarks left.
	rm -rf $(VENV) demo-output bench-output

$(INSTALLED): pyproject.toml constraints.txt $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev]' $(addprefix --editable ,$(DISTRIBUTIONS))
	touch $@

# the real servers; only what runs them needs them, and Node.js for the EVM node
$(PARTS): $(INSTALLED)
	command -v npm >/dev/null || { echo "npm is needed for the EVM node: install Node.js" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[parts]'
	npm install --global --prefix $(VENV) --ignore-scripts --no-audit --no-fund --silent $(ANVIL)
	touch $@
