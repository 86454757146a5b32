# make setup       .venv from nothing but Python 3.11 and pip
# make reproduce   the main job: raw release -> dataset -> models -> report -> cards, under runs/mini
#                  SMOKE=1 toy sizes under runs/smoke; LONG=1 the longer arm; SEEDS=0,1,2 several seeds
# make construct   a dataset made from seeds by scripted models that misbehave, under runs/construct
# make test        ruff, mypy, pytest without the slow tier in two processes, a file's tests in one of them
# make test-slow   the slow tier
# make bench       speed side by side with what a user would run instead
# make release     VERSION=x.y.z: checks, tests and packs the run for the Hub, under RUN/release; PUSH=OWNER pushes it
# All but setup make .venv first where it is missing or older than what it is made from.

PYTHON ?= python3.11
SMOKE ?=
LONG ?=
SEEDS ?=
# Not taken from the environment: nobody publishes by an accident.
VERSION :=
PUSH :=

BIN := .venv/bin
STAMP := .venv/.complete
RUN := $(if $(SMOKE),runs/smoke,runs/mini$(if $(LONG),-long)$(if $(SEEDS),-seeds))
FLAGS := $(if $(SMOKE),--smoke) $(if $(LONG),--long) $(if $(SEEDS),--seeds $(SEEDS))

.DELETE_ON_ERROR:
.PHONY: setup reproduce construct test test-slow bench release

setup: $(STAMP)

# The stamp is written last: a setup that was interrupted has none and is done again from the start.
$(STAMP): pyproject.toml requirements/pins.txt requirements/no-deps.txt
	rm -f $@
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c requirements/pins.txt -e '.[mini,audit,remote,trainer,dev]'
	$(BIN)/python -m pip install --quiet --no-deps -r requirements/no-deps.txt
	touch $@

reproduce: $(STAMP)
	$(BIN)/python -m trainer reproduce $(RUN) $(FLAGS)

construct: $(STAMP)
	$(BIN)/python -m mis_dataset rehearse runs/construct

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m "slow and not gpu"

bench: $(STAMP)
	$(BIN)/python -m benchmarks.completion_loss
	$(BIN)/python -m benchmarks.constructing
	$(BIN)/python -m benchmarks.converting
	$(BIN)/python -m benchmarks.dataset_room
	$(BIN)/python -m benchmarks.generating
	$(BIN)/python -m benchmarks.metrics
	$(BIN)/python -m benchmarks.remote_calls
	$(BIN)/python -m benchmarks.judging
	$(BIN)/python -m benchmarks.training

# In this order, so that nothing is packed that was not tested: fresh? verified, tested, packed, and is that fresh too?
release: $(STAMP)
	$(if $(VERSION),,$(error give VERSION=x.y.z))
	$(BIN)/python -m cards release $(VERSION) $(RUN) $(if $(PUSH),--push)
	$(BIN)/python -m mis_dataset verify $(RUN)/MIS
	$(MAKE) test
	$(BIN)/python -m cards pack $(RUN) $(RUN)/release --owner $(or $(PUSH),OWNER)
	$(BIN)/python -m cards release $(VERSION) $(RUN) --packed $(RUN)/release $(if $(PUSH),--push)
	$(if $(PUSH),$(BIN)/python -m cards push $(RUN)/release $(PUSH) --yes)
