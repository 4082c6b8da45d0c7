# The commands of the README. Each does its own set-up in .venv; GNU make 3.81 (macOS) and a POSIX shell are enough.
#
#   make demo [SEED=7] [STORE=postgresql] [ARGS="…"]      make test      make help

VENV   := .venv
PYTHON := $(VENV)/bin/python
TOOL   := $(VENV)/bin/

.PHONY: help demo test prove lint docs bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    run the demo: a thousand orders, three failing services, one kill -9, one audit"
	@echo "             SEED=7 and ARGS='…' are passed on to \`sagafsm demo\`; STORE is a URL such as sqlite:///file.db,"
	@echo "             or postgresql, redis, mongodb: a server of that kind is started for the demo and ended after it"
	@echo "make test    every check: style, types, import contracts, tests"
	@echo "make lint    all of these but the tests"
	@echo "make docs    write the generated pages of docs/ anew"
	@echo "make prove   simulate the engine for hours: all faults, all pairs, millions of runs; RUNS=… or MINUTES=… is the budget"
	@echo "make bench   measure; see benchmarks/README.md"
	@echo "make clean   remove the environment and what the tools left behind"

SERVER := $(filter postgresql redis mongodb,$(STORE))
ON     := $(if $(SERVER),$(PYTHON) -m tests.servers.running $(SERVER) --)
WHERE  := $(if $(SERVER),--store '{url}',$(if $(STORE),--store '$(STORE)'))

demo: $(VENV)/.demo $(addprefix $(VENV)/.,$(SERVER))
	@$(ON) $(TOOL)sagafsm demo $(WHERE) $(if $(SEED),--seed '$(SEED)') $(ARGS)

# One file is one unit for a worker: the code blocks of a page run in order, and go on from one another.
# Servers that are missing are installed first, where that is allowed: no test has to wait for it.
test: lint
	@$(PYTHON) -m tests.servers
	@$(PYTHON) -m pytest -q -n auto --dist loadfile

prove: $(VENV)/.dev
	@$(PYTHON) -m tests.simulation.prove $(if $(RUNS),--runs '$(RUNS)') $(if $(MINUTES),--minutes '$(MINUTES)') $(ARGS)

# All of them run, so that one look shows everything.
lint: $(VENV)/.dev
	@failed=; \
	$(TOOL)ruff check --quiet . || failed="$$failed ruff-check"; \
	$(TOOL)ruff format --check --quiet . || failed="$$failed ruff-format"; \
	$(TOOL)mypy --no-error-summary || failed="$$failed mypy"; \
	$(TOOL)basedpyright --level error || failed="$$failed pyright"; \
	$(TOOL)lint-imports --no-logo --no-cache > $(VENV)/imports.txt 2>&1 || { cat $(VENV)/imports.txt; failed="$$failed import-contracts"; }; \
	[ -z "$$failed" ] || { echo "make: found something:$$failed" >&2; exit 1; }

docs: $(VENV)/.dev
	@$(PYTHON) docs/build_reference.py
	@SAGAFSM_WRITE_DOCS=1 $(PYTHON) -m pytest -q $$(grep -rl assert_current tests --include='test_*.py')

bench: $(VENV)/.dev
	@$(PYTHON) -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment ---
# Made once; installed into again when pyproject.toml changes. The stamp is named after the extra it stands for.

$(VENV)/.%: pyproject.toml $(PYTHON)
	@echo "make: installing sagafsm[$*] into $(VENV) …" >&2
	@if command -v uv >/dev/null 2>&1; then \
	    uv pip install --quiet --python $(PYTHON) --editable '.[$*]'; \
	else \
	    $(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip >/dev/null; \
	    $(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[$*]'; \
	fi
	@touch $@

# A name on the PATH proves nothing (macOS and pyenv put stand-ins there), so each candidate is asked for its version.
$(PYTHON):
	@set -e; found=; \
	for candidate in $(PYTHON_COMMAND) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        found=$$candidate; break; \
	    fi; \
	done; \
	if command -v uv >/dev/null 2>&1; then \
	    exec uv venv --quiet --clear --python "$${found:->=3.11}" $(VENV); \
	fi; \
	if [ -z "$$found" ]; then \
	    echo "make: no Python 3.11 or newer found (tried python3, python3.14 … python3.11)." >&2; \
	    echo "      Debian: apt install python3 python3-venv     macOS: brew install python" >&2; \
	    echo "      Elsewhere on the disk: make $(MAKECMDGOALS) PYTHON_COMMAND=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	if "$$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	    exec "$$found" -m venv --clear $(VENV); \
	fi; \
	if "$$found" -c 'import virtualenv' >/dev/null 2>&1; then \
	    exec "$$found" -m virtualenv --quiet --clear $(VENV); \
	fi; \
	version=$$("$$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	echo "make: $$found cannot make a virtual environment: its 'ensurepip' is missing." >&2; \
	echo "      Debian and Ubuntu: apt install python$$version-venv     (or: virtualenv, or: uv)" >&2; \
	exit 1
