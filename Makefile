# make demo | test | lint | bench. Needs Python 3.11 or later, make and PyPI; all else goes to .venv.
PYTHON ?= python3
VENV   ?= .venv
# Installed first and by itself: otherwise pip takes the newest build with its CUDA packages.
TORCH  ?= torch==2.13.0
OUT    ?= demo

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint bench clean

demo: $(VENV)/.demo
	mkdir -p $(OUT)
	$(BIN)/roadworthy deploy examples/unet/model.py:unet \
		--weights examples/unet/unet.safetensors \
		--samples examples/unet/scenes \
		--inputs 'image[batch=1..4,1,h=64..384:16,w=64..384:16]' \
		--out $(OUT)/unet.rw
	$(BIN)/roadworthy predict $(OUT)/unet.rw examples/unet/scenes --save $(OUT)/masks.png
	$(BIN)/roadworthy report $(OUT)/unet.rw --out $(OUT)/report.html
	@echo
	@echo "bundle  $(OUT)/unet.rw      (verify it anywhere: $(BIN)/roadworthy verify $(OUT)/unet.rw)"
	@echo "report  $(OUT)/report.html  (open it in a browser)"
	@echo "masks   $(OUT)/masks.png"

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

bench: $(VENV)/.test
	$(BIN)/python benchmarks/session_overhead.py
	$(BIN)/python benchmarks/unet_cpu.py

clean:
	rm -rf $(VENV) $(OUT) build dist

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: | $(VENV)/bin/python
	$(PIP) "$(TORCH)"
	touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.torch
	$(PIP) -e ".[torch,vision]"
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.demo
	$(PIP) -e ".[torch,vision,test]"
	touch $@
