# Start with `make demo` (cross-validation on synthetic scans) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NNUNET := .venv-nnunet
ACCELERATORS := .venv-accelerators
# The first Python found that jax 0.12 supports.
PYTHON_312 ?= $(shell for python in python3 python3.13 python3.12 $(HOME)/.pyenv/versions/3.1[2-9]*/bin/python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo "$$python" && break; done)
JOBS ?= 2

.PHONY: demo test literature literature-full wheel gates experiments methods faults fuzz peers onnx benchmarks ablation transfer nnunet accelerators lint clean

demo: $(VENV)/.run
	$(BIN)/python launch.py crossval --config=configs/demo.py --workdir=runs/demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

# Builds the wheel, installs it into a fresh environment and uses it from an empty folder.
wheel: $(VENV)/.dev
	$(BIN)/python -m pytest -m wheel

# Compares the methods of the literature on the first of four folds of synthetic scans, and on all. Goes on where it
# stopped. Other options: make literature LITERATURE_OPTIONS='--config.data.root=DIR'.
LITERATURE := $(BIN)/python -m benchmarks.literature

literature: $(VENV)/.run
	$(LITERATURE) --folds=0 $(LITERATURE_OPTIONS)

literature-full: $(VENV)/.run
	$(LITERATURE) $(LITERATURE_OPTIONS)

# Checks that the phantom is neither trivial nor hopeless for a small U-Net, and true to measured heads. Minutes.
gates: $(VENV)/.dev
	$(BIN)/python -m pytest -m gate

# Runs the paper's three experiments on phantoms in each layout, with narrow networks, and checks every table and figure.
# Minutes.
experiments: $(VENV)/.dev
	$(BIN)/python -m pytest -m experiments -n $(JOBS) --dist worksteal

# Trains every method of the literature, and pre-trains encoders; finds planted lesions with them. Minutes.
methods: $(VENV)/.dev
	$(BIN)/python -m pytest -m methods -n $(JOBS) --dist loadgroup

# Training under faults (kills at any moment, damaged checkpoints, full disks, several processes), on eight devices, and
# ops under pmap and without jit. Minutes.
faults: $(VENV)/.dev
	$(BIN)/python -m pytest -m faults -n $(JOBS) --dist worksteal

# Reads 2,000 damaged files: each must end in a result or in one clear sentence. Minutes.
fuzz: $(VENV)/.dev
	$(BIN)/python -m pytest -m fuzz -n $(JOBS) --dist worksteal -s

# Checks that the Keras and PyTorch networks of the benchmarks compute what ichjax computes. On one device, because the
# C++ convolutions only run there.
peers: $(VENV)/.dev $(VENV)/.peers
	ICHJAX_TEST_DEVICES=1 $(BIN)/python -m pytest -m peers

# Converts networks to ONNX and runs them in onnxruntime. Its packages, 260 MB, stay in the environment.
onnx: $(VENV)/.dev $(VENV)/.onnx
	$(BIN)/python -m pytest tests/inference/test_onnx_network.py

# Measures everything in the README's benchmark table. Most of an hour on 2 cores.
benchmarks: $(VENV)/.peers
	$(BIN)/python -m benchmarks.all

# Trains nnU-Net and ichjax on the same folds of synthetic scans, 10 CPU minutes of each core a fold, and compares their
# scores. Hours. Other options: make nnunet NNUNET_OPTIONS='--folds=0 --minutes=2'.
nnunet: $(VENV)/.run $(NNUNET)/.done
	$(BIN)/python -m benchmarks.nnunet_peer --publish $(NNUNET_OPTIONS)

# Trains the recipe of configs/ich_small.py without, and with, each of its ingredients. Hours; goes on where it stopped.
ablation: $(VENV)/.run
	$(BIN)/python -m benchmarks.ablation

# Trains a U-Net from scratch, and from an encoder that is pre-trained on slice labels; then compares scans that are
# suggested for annotation with a random choice. Hours; goes on where it stopped.
transfer: $(VENV)/.run
	$(BIN)/python -m benchmarks.transfer
	$(BIN)/python -m benchmarks.active_learning

# Compiles the programs for an H100 and for TPUs, without the hardware, and checks that no figure is worse than its limit.
# A quarter of an hour.
# Other options: make accelerators ACCELERATORS_OPTIONS='--all'.
accelerators: $(ACCELERATORS)/.done
	$(ACCELERATORS)/bin/python -m benchmarks.ahead_of_time --check $(ACCELERATORS_OPTIONS)

# Checks lint, format and types.
lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "ichjax needs Python 3.11 or later; found " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt requirements-dicom.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ $(VENV)/.run

$(VENV)/.onnx: requirements-onnx.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-onnx.txt
	touch $@

$(VENV)/.peers: benchmarks/requirements.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@

# Without the dependencies of dynamic-network-architectures, see the requirements file.
$(NNUNET)/.done: benchmarks/requirements-nnunet.txt
	$(PYTHON) -m venv $(NNUNET)
	$(NNUNET)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-nnunet.txt
	$(NNUNET)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		'nnunetv2>=2.8.1,<2.9' 'dynamic-network-architectures>=0.4.4,<0.5'
	touch $@

$(ACCELERATORS)/.done: requirements.txt $(wildcard benchmarks/requirements-accelerators*.txt)
	@test -n "$(PYTHON_312)" || { echo "compiling for accelerators needs Python 3.12 or later, which was not found; name it with: make accelerators PYTHON_312=PATH" >&2; exit 2; }
	$(PYTHON_312) -m venv $(ACCELERATORS)
	$(ACCELERATORS)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r benchmarks/requirements-accelerators.txt
	$(ACCELERATORS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		-r benchmarks/requirements-accelerators-cuda.txt
	touch $@

clean:
	rm -rf $(VENV) $(NNUNET) $(ACCELERATORS) .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist *.egg-info
