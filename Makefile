# Every target does its own set-up: a fresh clone needs python3, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export GRADIO_ANALYTICS_ENABLED := False
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test test-all bench evaluate train-shapes train-shapes-video record fmt lint browser clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo          the page, at http://127.0.0.1:7860"
	@echo "make test          every test that takes seconds; make test-all adds those that take minutes"
	@echo "make bench         speed of the selection, as ratios to the Gram product"
	@echo "make evaluate      accuracy of every method on the embedded model's test scenes"
	@echo "make train-shapes  train the embedded model from scratch (resumes where it stopped)"
	@echo "make train-shapes-video  train the clip model on top of it (resumes where it stopped)"
	@echo "make record        record the example traces that the page opens with"
	@echo "make fmt lint      format; check style and types"

$(READY): requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

demo: $(READY)
	$(BIN)/python app.py

# The browser tests use $$CHROMIUM, else a browser on PATH, else Debian's package, else Playwright's own.
browser: $(READY)
	@$(BIN)/python -m tests.browser.install

test: $(READY) browser
	$(BIN)/python -m pytest -m "not slow"

test-all: $(READY) browser
	$(BIN)/python -m pytest

bench: $(READY)
	$(BIN)/python -m fsr bench select

evaluate: $(READY)
	$(BIN)/python -m fsr bench accuracy --json assets/shapes/evaluation.json

train-shapes: $(READY)
	$(BIN)/python -m training pictures

train-shapes-video: $(READY)
	$(BIN)/python -m training clips

record: $(READY)
	$(BIN)/python -m fsr record --model shapes --examples assets/examples --out assets/traces --draw
	$(BIN)/python -m fsr record --model shapes-video --clips --examples assets/examples --out assets/traces --draw

fmt: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info
