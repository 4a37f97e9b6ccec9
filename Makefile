# Every target does its own set-up: a fresh clone needs python3, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export GRADIO_ANALYTICS_ENABLED := False
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test test-all test-mcp test-ray lmms-eval test-lmms-eval test-newest test-oldest lock bench gpu-check evaluate train-shapes train-shapes-base train-shapes-video record docs fmt lint browser javascript clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo          the page, at http://127.0.0.1:7860"
	@echo "make test          every test that takes seconds; make test-all adds those that take minutes"
	@echo "make test-newest   the tests with the newest versions that the requirements allow; make test-oldest: the lowest"
	@echo "make lock          choose the versions of requirements.lock anew"
	@echo "make lmms-eval     an environment with lmms-eval and our models in it; make test-lmms-eval proves it"
	@echo "make paper-table1  the tables of the paper on a GPU, 1 to 6: docs/paper.md"
	@echo "make bench         speed of the selection, as ratios to the Gram product, and of what an answer rests on"
	@echo "make gpu-check     prove and measure everything on a GPU, within 8 minutes"
	@echo "make evaluate      accuracy of every method on the embedded model's test scenes"
	@echo "make train-shapes  train the embedded model on pictures as others draw them (resumes where it stopped)"
	@echo "make train-shapes-base  train from scratch what it starts from, on drawn scenes (resumes where it stopped)"
	@echo "make train-shapes-video  train the clip model on top of it (resumes where it stopped)"
	@echo "make record        record the example traces that the page opens with"
	@echo "make docs          write docs/measurements.md from what was measured and recorded"
	@echo "make fmt lint      format; check style and types"

# Python compiles what it imports when it first does, and keeps that; pip would compile all of torch and transformers.
unexport PYTHONDONTWRITEBYTECODE
PIP := -m pip install --quiet --no-compile --disable-pip-version-check
# One worker a core and one besides (tests/conftest.py); all tests of a file share one, and what its fixtures hold. In order: the browser tests take longest.
PYTEST := -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder
NEW_ENOUGH := $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version.split()[0])'

# The lock constrains, it does not list what to install: each machine takes what it needs of it (a CPU no CUDA).
$(READY): requirements.txt requirements-dev.txt requirements-sweep.txt requirements.lock pyproject.toml
	$(NEW_ENOUGH)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --constraint requirements.lock --editable ".[dev]"
	touch $@

# Every version that the requirements allow on Python 3.10 to 3.12, newest first. LOCK="--constraint FILE" holds some back.
# No hashes: pip then refuses an editable install, and wheels of the same version from another index (torch for the CPU).
lock: $(READY)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --no-annotate --no-emit-index-url \
	  --custom-compile-command "make lock" $(LOCK) --output-file requirements.lock \
	  requirements.txt requirements-dev.txt requirements-sweep.txt

test-newest: browser
	$(NEW_ENOUGH)
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python $(PIP) --editable ".[dev]"
	.venv-newest/bin/python $(PYTEST) -m "not slow"

test-oldest: browser
	$(NEW_ENOUGH)
	$(PYTHON) -m venv --clear .venv-oldest
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --python .venv-oldest/bin/python \
	  --output-file .venv-oldest/lowest.txt requirements.txt requirements-dev.txt requirements-sweep.txt
	.venv-oldest/bin/python $(PIP) --constraint .venv-oldest/lowest.txt --editable ".[dev]"
	.venv-oldest/bin/python $(PYTEST) -m "not slow"

demo: $(READY)
	$(BIN)/python app.py

# Tools that check the page's JavaScript; the page itself needs no node. ci: the versions of package-lock.json.
node_modules/.ready: package.json package-lock.json
	@command -v npm > /dev/null || { echo "node and npm are needed to check the page's JavaScript: install node 20 or newer."; exit 1; }
	npm ci --no-audit --no-fund --loglevel=error
	touch $@

# Where there is no node, the modules are not tested alone; FSR_REQUIRE_BROWSER=1 (continuous integration) insists.
ifneq ($(shell command -v npm 2> /dev/null)$(filter 1,$(FSR_REQUIRE_BROWSER)),)
javascript: node_modules/.ready
	npm test --silent
else
javascript:
	@echo "JavaScript tests NOT RUN: no node found"
endif

# The browser tests use $$CHROMIUM, else a browser on PATH, else Debian's package, else Playwright's own.
browser: $(READY)
	@$(BIN)/python -m tests.browser.install

# What every worker imports, compiled once before they all do at the same time.
$(VENV)/.compiled: $(READY)
	$(BIN)/python -c "import app.ui.page, playwright.sync_api; from transformers import AutoProcessor, CLIPModel, LlavaForConditionalGeneration"
	touch $@

test: $(READY) browser javascript $(VENV)/.compiled
	$(BIN)/python $(PYTEST) -m "not slow"

# Browser tests a second time with every turn in a process of its own, as on ZeroGPU.
test-all: $(READY) browser javascript $(VENV)/.compiled
	$(BIN)/python $(PYTEST)
	FSR_TESTS_LEASED=1 $(BIN)/python $(PYTEST) -m "not slow" tests/browser
	$(MAKE) --no-print-directory test-mcp test-ray test-lmms-eval

# Where the API is a server of tools: its package wants older versions than requirements.lock, so an environment of its own.
test-mcp:
	$(NEW_ENOUGH)
	$(PYTHON) -m venv --clear .venv-mcp
	.venv-mcp/bin/python $(PIP) --requirement requirements-mcp.txt --editable ".[dev]"
	.venv-mcp/bin/python -m pytest tests/test_api_docs.py -k mcp

# Where a sweep is spread over workers: Ray is no part of the lock, so an environment of its own.
test-ray:
	$(NEW_ENOUGH)
	$(PYTHON) -m venv --clear .venv-ray
	.venv-ray/bin/python $(PIP) --requirement requirements-ray.txt --editable ".[dev]"
	.venv-ray/bin/python -m pytest tests/test_sweep.py -k ray

# The field's own runner, with our models by its entry points. It reads inner modules of an older filelock than the lock's, so an
# environment of its own; all else in it is of the lock.
LMMS_EVAL := .venv-lmms-eval
lmms-eval: $(LMMS_EVAL)/.ready
$(LMMS_EVAL)/.ready: requirements.txt requirements-dev.txt requirements-sweep.txt requirements-lmms-eval.txt requirements.lock pyproject.toml
	$(NEW_ENOUGH)
	test -x $(LMMS_EVAL)/bin/python || $(PYTHON) -m venv $(LMMS_EVAL)
	grep -v '^filelock==' requirements.lock > $(LMMS_EVAL)/most.lock
	$(LMMS_EVAL)/bin/python $(PIP) --constraint $(LMMS_EVAL)/most.lock --requirement requirements-lmms-eval.txt --editable ".[dev]"
	touch $@

# A table of the FSR paper: hours on a GPU, begun again where it ended (docs/paper.md). GPUS=4; MORE="--methods fsr --plan".
paper-table%: lmms-eval
	$(LMMS_EVAL)/bin/python -m fsr.lmms.paper $* $(if $(GPUS),--gpus $(GPUS)) $(MORE)

test-lmms-eval: lmms-eval
	$(LMMS_EVAL)/bin/python -m pytest tests/test_lmms_eval.py

bench: $(READY)
	$(BIN)/python -m fsr bench select
	$(BIN)/python -m fsr bench why

# On a bare machine, by the python that has torch with CUDA: nothing is set up, nothing downloaded.
gpu-check:
	$(PYTHON) -m fsr bench gpu

# Each file says by which command it was measured; that command measures it again.
EVALUATIONS := $(wildcard assets/shapes*/evaluation*.json)
evaluate: $(READY)
	@for file in $(EVALUATIONS); do \
	  command=$$($(BIN)/python -c 'import json, sys; print(json.load(open(sys.argv[1]))["command"])' $$file); \
	  echo "$$command --json $$file"; $(BIN)/$$command --json $$file || exit; \
	done

# It starts from weights that know drawn scenes alone: those that were shipped before, from the history, or, anew,
# START=train/base/weights as `make train-shapes-base` makes them.
FORMER := aee59f17f3579b52a78a5453d560491896dcd66a
START ?= train/former/assets/shapes
train/former/assets/shapes:
	mkdir -p train/former
	git archive $(FORMER) assets/shapes | tar -x -C train/former

train-shapes: $(READY) $(START)
	$(BIN)/python -m training icons
	$(BIN)/python -m training world --start $(START) --out train/world/weights

train-shapes-base: $(READY)
	$(BIN)/python -m training pictures --work train/base --out train/base/weights

train-shapes-video: $(READY)
	$(BIN)/python -m training clips

record: $(READY)
	$(BIN)/python -m fsr record --model shapes --examples assets/examples --out assets/traces --draw
	$(BIN)/python -m fsr record --model shapes-video --clips --examples assets/examples --out assets/traces --draw

# The tables of docs/measurements.md and the GPU table of README.md, from what was measured and recorded.
docs: $(READY)
	$(BIN)/python docs/make.py

fmt: $(READY) node_modules/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .
	npm run fmt --silent

lint: $(READY) node_modules/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	npm run lint --silent

clean:
	rm -rf $(VENV) .venv-newest .venv-oldest .venv-mcp .venv-ray .venv-lmms-eval node_modules build *.egg-info
