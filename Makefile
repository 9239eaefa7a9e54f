# Every target sets up what it needs: python3 (3.11 or 3.12) with pip and venv is enough.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
export PYTHONUTF8 := 1
unexport PYTHONPATH VIRTUAL_ENV

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(STAMP)  ## the whole chain on rendered walkers, at most 3 minutes; ends by naming the report
	$(BIN)/gaitreid demo

install: $(STAMP)  ## the environment in .venv, exactly as in requirements.lock

test: $(STAMP)  ## the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto

check: format-check types contract test wheel  ## what must hold before a change lands

format: $(STAMP)  ## put the code in shape
	$(BIN)/ruff format -q .
	$(BIN)/ruff check -q --fix .

format-check: $(STAMP)  ## ruff: format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)  ## mypy --strict
	mkdir -p .types && ln -sfn .. .types/gaitreid
	$(BIN)/mypy

contract: $(STAMP)  ## imports run one way
	$(BIN)/lint-imports

wheel: $(STAMP)  ## build the wheel and run it away from the checkout
	$(BIN)/python tests/wheel.py
	@rm -rf build

lock: .venv/bin/uv  ## work out requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile -q --upgrade --group dev --no-header --no-annotate --no-emit-index-url pyproject.toml -o requirements.lock

clean:  ## everything that can be made again
	rm -rf .venv .types build dist work *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/bin/uv:
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 13), "python 3.11 or 3.12 is needed: make PYTHON=python3.12"'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check uv

# The lock is installed as it stands: a resolver would follow mediapipe's numpy<2 and mmpose's chumpy (pyproject, tool.uv).
# OpenCV's full build needs libGL; on a machine without it its headless twin of the same version takes its place.
$(STAMP): .venv/bin/uv requirements.lock pyproject.toml
	$(BIN)/uv pip install -q --no-deps -r requirements.lock
	$(BIN)/uv pip install -q --no-deps -e .
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	  echo "libGL.so.1 is missing: installing opencv-python-headless in place of opencv-python"; \
	  $(BIN)/uv pip install -q --no-deps --reinstall `sed -n 's/^opencv-python==/opencv-python-headless==/p' requirements.lock`; }
	@touch $@

.PHONY: help demo install test check format format-check types contract wheel lock clean
.DEFAULT_GOAL := help
