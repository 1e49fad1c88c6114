# The commands of the README. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := -e ./shared[embedded,flyte] -e ./services/admin[flyte] -e ./services/clusterres \
	-e ./services/propeller -e ./services/resmgr
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo demo-kubernetes up setup check lint types unit test soak test-flyte test-kubernetes e2e e2e-full bench clean

demo: .venv/installed  ## the main job, from set-up to explanation
	$(BIN)/python examples/demo.py

# On the cluster of TRIMTAB_TEST_KUBECONFIG, else on a real control plane without nodes.
demo-kubernetes: .venv/kubernetes  ## the same on a Kubernetes cluster
	$(BIN)/python -m tests.kubernetes.run sh -c \
		'$(BIN)/python examples/demo.py --kubeconfig "$$KUBECONFIG"'

up: .venv/installed  ## everything in the foreground until Ctrl-C
	$(BIN)/trimtab up

.venv/installed: constraints.txt shared/pyproject.toml services/*/pyproject.toml
	@echo "Installing Trimtab into .venv (about a minute the first time)"
	$(PYTHON) -m venv .venv
	$(PIP) "pip>=25.1"
	$(PIP) $(PACKAGES)
	@touch $@

.venv/developing: .venv/installed pyproject.toml
	@echo "Installing the tools of the tests"
	$(PIP) --group dev
	@touch $@

.venv/kubernetes: .venv/developing
	@echo "Installing the tools of the tests with Kubernetes"
	$(PIP) --group kubernetes
	@touch $@

.venv/flyte: .venv/developing
	@echo "Installing the tools of the tests with clients of Flyte"
	$(PIP) --group flyte
	@touch $@

setup: .venv/developing

check: lint types unit  ## format, lint, wording, imports, types, unit tests

lint: .venv/developing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/wording.py
	$(BIN)/lint-imports

types: .venv/developing
	$(BIN)/mypy

# `test` runs them too, with all examples of Hypothesis.
unit: .venv/developing
	$(BIN)/pytest --numprocesses 2 --hypothesis-profile quick tests/unit

# Most of a test with servers is waiting, so four share two cores well; one file stays together, and
# what takes long comes first. The same histories each time: what is random belongs to `soak`.
test: .venv/developing  ## all tests, with real servers
	$(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --seed 1

# The same histories are in `test`, shorter.
soak: OPERATIONS ?= 1000000
soak: .venv/developing  ## random histories of so many OPERATIONS, while servers are killed and slowed
	$(BIN)/pytest --numprocesses 2 --dist loadfile --operations $(OPERATIONS) $(SEED:%=--seed %) \
		tests/integration/resmgr/test_chaos.py tests/integration/resmgr/test_model.py

test-kubernetes: .venv/kubernetes  ## tests with a real control plane, which is compiled once
	$(BIN)/python -m tests.kubernetes.build
	$(BIN)/pytest --numprocesses 2 --dist loadfile --durations 8 tests/kubernetes

# Clients have their own virtual environments, because their pins are not ours.
test-flyte: .venv/flyte  ## tests with recorded calls and unmodified clients of Flyte
	$(BIN)/python -m tests.flyte.environments
	$(BIN)/pytest --numprocesses 2 --dist loadfile --durations 8 tests/flyte

# The tests share one set of containers, so they run one after the other.
e2e: .venv/developing  ## the demo and faults under load, in containers
	$(PIP) --group e2e
	tests/e2e/set_up.sh
	$(BIN)/pytest --durations 8 --ignore tests/e2e/full tests/e2e

e2e-full: .venv/developing  ## traces and metrics of the containers; compiles Jaeger and Prometheus
	$(PIP) --group e2e
	tests/e2e/set_up.sh
	$(BIN)/pytest tests/e2e/full

bench: .venv/developing  ## figures, each beside its limit
	$(BIN)/python -m bench

clean:
	rm -rf .venv .trimtab
