# Everything runs in .venv, which is made once and again only when what it is made from changes.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help demo test faults bench audit licences lint format clean

help:
	@echo "make demo    serve real images, train on them, and see how well it goes (two minutes)"
	@echo "make test    ruff, mypy and the whole test suite"
	@echo "make faults  kill, cut, flip and stall for some minutes, and print what came of it (docs/guarantees.md)"
	@echo "make bench   headrace beside its peers, and docs/benchmarks.md (a quarter of an hour; the machine should be quiet)"
	@echo "make audit   known vulnerabilities in what the server's image holds; fails where no data on them is reached"
	@echo "make licences what the server's image holds, and under which licences: docs/licences.md"
	@echo "make format  let ruff put the code in order"
	@echo "make clean   remove the virtual environment and what the demo made"

demo: $(INSTALLED)
	@$(BIN)/headrace demo

test: lint
	$(BIN)/python -m pytest -q

FAULTS := $(addprefix tests/test_,failover.py pace.py limits.py leaving.py requests.py access.py shutdown.py resume.py \
	keras_checkpoint.py bad_data.py sample_elsewhere.py bombs.py hostile_requests.py contract.py fuzzing.py)

faults: $(INSTALLED)
	HEADRACE_FAULTS=1 $(BIN)/python -m pytest -q --timeout 600 $(FAULTS)

BENCHED := .venv/.benched

bench: $(BENCHED)
	$(BIN)/python -m benchmarks

$(BENCHED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,bench]"
	@touch $@

AUDIT := build/audit

audit: $(INSTALLED) $(AUDIT)/.installed
	@$(BIN)/python docker/licences.py --pins > $(AUDIT)/server.txt
	@$(AUDIT)/bin/python docker/audit.py $(AUDIT)/server.txt $(AUDIT_OPTIONS)

# Not in .venv: what pip-audit brings is nothing that headrace is tested with.
$(AUDIT)/.installed: constraints.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip-audit
	@touch $@

licences: $(INSTALLED)
	$(BIN)/python docker/licences.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml constraints.txt hatch_build.py $(wildcard server/headrace_server/native/*.[ch])
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

clean:
	rm -rf .venv demo-data build/audit
