# Every target does its own set-up: a virtual environment in .venv with the pinned versions of constraints.txt.
# The main job: make drills [PROFILE=quick|ci|staging|full] [TARGET=embedded|docker|http://host:port] [ARGS=...]

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROFILE ?= ci
TARGET ?= embedded
ARGS ?=
KILLS ?= 3000
TRIALS ?= 480
READY := $(VENV)/.ready

.PHONY: drills phase0 docs-commands images test test-long rehearsals watches fail-closed monitoring defects bench torture doses aborts durability calibrate lint clean help

help:
	@grep -E "^# |^[a-z][a-z0-9-]*:" Makefile

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=...)"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

drills: $(READY) $(if $(filter docker,$(TARGET)),images)
	$(BIN)/python -m pytest drills --profile $(PROFILE) --target $(TARGET) $(ARGS)

# Phase 0's five suites, one JUnit file each, as the gate of phase 0 reads them: results/phase0/*.xml
SUITES := dual_memory_migration dual_memory_feature_flags dual_memory_differential dual_memory_load dual_memory_chaos

phase0: $(READY) $(if $(filter docker,$(TARGET)),images)
	@mkdir -p results/phase0
	@status=0; for suite in $(SUITES); do \
	  $(BIN)/python -m pytest drills/phase0/test_$$suite.py --profile $(PROFILE) --target $(TARGET) $(ARGS) \
	    --junitxml=results/phase0/$$suite.xml -o junit_suite_name=$$suite || status=1; done; exit $$status

images: $(READY)
	$(BIN)/python -m harness.targets.docker_build

test: $(READY)
	$(BIN)/python -m pytest tests -n 3 $(ARGS)

# What make test leaves out for its time: the other lies of a stack in containers, the other ways to the same refusal.
test-long: $(READY)
	$(BIN)/python -m pytest tests -m long -n 2 $(ARGS)

# Every command of the operations documents that takes minutes, for real (the short ones are part of make test).
# ARGS=dual_memory_rollout.md:34 runs one block.
docs-commands: $(READY)
	$(BIN)/python -m tests.docs.long $(ARGS)

defects: $(READY)
	$(BIN)/python -m tests.defects.table $(ARGS)

bench: $(READY)
	$(BIN)/python -m tests.bench.load $(ARGS)

torture: $(READY)
	$(BIN)/python -m tests.torture.run --kills $(KILLS) --document $(ARGS)

doses: $(READY)
	$(BIN)/python -m tests.doses.table --document $(ARGS)

aborts: $(READY)
	$(BIN)/python -m tests.torture.abort_time --trials $(TRIALS) --document $(ARGS)

durability: $(READY)
	$(BIN)/python -m tests.torture.durability_defects --document $(ARGS)
	$(BIN)/python -m tests.torture.one_in_many
	$(BIN)/python -m tests.judge.durability_scale

calibrate: $(READY)
	$(BIN)/python -m tests.calibration.recovery $(ARGS)
	$(BIN)/python -m tests.soak_traces.table
	$(BIN)/python -m tests.calibration.rollout

rehearsals: $(READY)
	$(BIN)/python -m tests.rollout.regressions docs/rehearsal.md $(ARGS)

# The watch over a reference whose P99, error rate, memory or process goes bad at a scripted moment.
watches: $(READY)
	$(BIN)/python -m tests.rollout.watched_live docs/watch.md

# A thousand broken sets of evidence over every gate of both plans; none may promote (a part of it is in make test).
fail-closed: $(READY)
	$(BIN)/python -m tests.rollout.fail_closed $(ARGS)

monitoring: $(READY)
	$(BIN)/python -m harness.monitoring.generate $(ARGS)

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
