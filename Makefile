# Every target sets up what it needs from a bare clone: `make demo` needs python3 (3.10 or newer) and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DIGITS := examples/digits
PACKAGE := setup.cfg pyproject.toml
PEERS := .venv-peers
TORCH ?= torch
TORCH_INDEX ?=

.PHONY: help demo test cuda test-cuda lint types bench bench-peers bench-operators bench-startup clean digits

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' Makefile

demo: digits  ## compile the digits net and read a handwritten seven with it
	$(BIN)/graphc run build/digits.pkl $(DIGITS)/7.png --size 8 --grey --scale 1/255 \
		--labels $(DIGITS)/labels.txt --top 3

test: $(VENV)/tools  ## the whole test suite; make test ARGS="tests/ir -x" for a part
	$(BIN)/pytest --numprocesses auto $(ARGS)

cuda: $(VENV)/cuda  ## the compiler for cards; `make test` then tests what needs it, too

test-cuda: $(VENV)/cuda  ## kernels for cards: compiled, emulated, on a null driver; run and timed where there is a card
	$(BIN)/pytest tests/backends/cuda -rs $(ARGS)
	$(BIN)/python benchmarks/on_card.py || test $$? -eq 2  # 2: no card

lint: $(VENV)/tools  ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Checked as installed: on the folders themselves each class would have two names (ir.Graph and graphc.ir.Graph).
types: $(VENV)/tools  ## strict type check of the package as it is installed
	rm -rf build/check
	$(BIN)/python -c "from setuptools import setup; setup()" -q build_py -d build/check
	cd build/check && ../../$(BIN)/mypy --config-file ../../setup.cfg -p graphc

bench: digits  ## time the digits net; make bench ARGS="..." for other options of graphc bench
	$(BIN)/graphc bench build/digits.pkl $(ARGS)

bench-peers: $(PEERS)/installed  ## graphc beside onnxruntime, openvino, ncnn and PyTorch (docs/benchmarks.md); ARGS="..."
	$(PEERS)/bin/python benchmarks/peers.py $(ARGS)

bench-operators: $(PEERS)/installed  ## single operators beside PyTorch, onnxruntime and NumPy
	$(PEERS)/bin/python benchmarks/operators.py $(ARGS)

bench-startup: $(VENV)/installed  ## compile time, first result of a new process, cost of a call
	$(BIN)/python benchmarks/startup.py $(ARGS)

clean:  ## remove everything that these targets made
	rm -rf $(VENV) $(PEERS) build *.egg-info

digits: $(VENV)/installed
	mkdir -p build
	$(BIN)/graphc compile $(DIGITS)/predict_net.pb --init $(DIGITS)/init_net.pb --input data=1,1,8,8 -o build/digits.pkl

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "graphc needs Python 3.10 or newer; name one with make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python $(PACKAGE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/tools: $(BIN)/python $(PACKAGE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/installed

# The compiler for cards is half a gigabyte, so `make test` alone does without it and skips what needs it.
$(VENV)/cuda: $(VENV)/tools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,cuda]'
	@touch $@

# TORCH=torch==2.13.0 takes one version; TORCH_INDEX=URL takes it from another index (PyTorch's own has builds for
# CPUs alone, a tenth of the size).
$(PEERS)/installed: $(PACKAGE)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable . \
		onnx onnxruntime openvino ncnn pnnx $(TORCH) $(addprefix --extra-index-url=,$(TORCH_INDEX))
	@touch $@
