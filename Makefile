# Two commands from a fresh clone: `make demo` and `make test`. Nothing but Python 3.11+ and make is needed.
PYTHON ?= python3
PIP_FLAGS := --quiet --disable-pip-version-check
# Two processes of one thread each: two threads of one process wait for each other, on a busy machine
# for most of the time. A file's tests stay together, with what they share.
TWO_PROCESSES := --numprocesses 2 --dist loadfile
PYTEST := OMP_NUM_THREADS=1 .venv/bin/python -m pytest $(TWO_PROCESSES)
TIMM_TESTS := $(wildcard tests/hosts/test_timm*.py) tests/hosts/test_eva.py tests/hosts/test_open_clip.py tests/hosts/test_towers.py tests/tasks/test_video_language.py tests/export/test_timm.py tests/video/test_processors.py
# What depends on versions: the floors below the command line, and what else names a floor's package.
OLDEST_TESTS := tests/method tests/ops tests/hosts tests/video tests/tasks tests/cli/test_help.py tests/cli/test_arguments.py tests/store tests/visualize/test_plot.py tests/visualize/test_contact_sheet.py tests/visualize/test_report.py

.PHONY: demo example test test-triton test-torchao test-slow test-oldest test-timm test-export test-real lint types readme docs dist clean help

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

# What a demo needs; what tests need comes on top, in the same environment.
.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[report]'
	touch $@

.venv/ready: .venv/demo
	.venv/bin/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[dev]'
	touch $@

# Beside the environment, not in it: where torchao is found, transformers imports it, and it logs.
.torchao/ready: constraints.txt .venv/ready
	.venv/bin/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --no-deps --target .torchao torchao
	touch $@

# Without dependencies: the list is complete, and torch would ask for one exact version of each of
# NVIDIA's libraries, gigabytes which nothing here runs.
.venv-oldest/ready: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install $(PIP_FLAGS) --no-deps --requirement constraints-oldest.txt --editable .
	touch $@

.venv-timm/ready: pyproject.toml constraints-timm.txt
	$(PYTHON) -m venv .venv-timm
	.venv-timm/bin/python -m pip install $(PIP_FLAGS) --constraint constraints-timm.txt --editable '.[timm,open_clip]' pytest
	touch $@

.venv-export/ready: pyproject.toml constraints.txt constraints-export.txt
	$(PYTHON) -m venv .venv-export
	.venv-export/bin/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --constraint constraints-export.txt --editable '.[export]' pytest
	touch $@

.venv-real/ready: pyproject.toml constraints.txt constraints-real.txt
	$(PYTHON) -m venv .venv-real
	.venv-real/bin/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --constraint constraints-real.txt --editable '.[real]' pytest
	touch $@

.venv-docs/ready: requirements-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install $(PIP_FLAGS) --requirement requirements-docs.txt
	touch $@

.venv-dist/ready:
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install $(PIP_FLAGS) build twine
	touch $@

demo: .venv/demo  ## Time a model of VideoMAE-B's size, then answer with the bundled one, merged and unmerged
	.venv/bin/vidtldr demo

example: .venv/demo  ## Make a clip and a tiny untrained model in demo/, and classify the clip merged and unmerged
	.venv/bin/python examples/01_demo.py

test: .venv/ready  ## Run the tests (a few minutes on two cores)
	$(PYTEST)
	$(MAKE) test-triton

test-triton: .venv/ready  ## Run the GPU kernels' tests on the CPU, in Triton's interpreter (part of `make test`)
	TRITON_INTERPRET=1 $(PYTEST) -m triton tests/ops tests/patch/test_triton.py

test-torchao: .torchao/ready  ## Run the tests of weights that torchao quantizes
	OMP_NUM_THREADS=1 PYTHONPATH=.torchao .venv/bin/python -m pytest tests/patch/test_quantized.py

test-slow: .venv/ready  ## Run the tests that take longer
	$(PYTEST) -m 'slow and not timm and not triton and not gpu and not export and not real'

test-oldest: .venv-oldest/ready  ## Run what depends on versions with the oldest ones that pyproject.toml admits
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest $(TWO_PROCESSES) $(OLDEST_TESTS)

test-timm: .venv-timm/ready  ## Run timm's and open_clip's tests in an environment of their own (they need torchvision)
	.venv-timm/bin/python -m pytest -m timm $(TIMM_TESTS)

test-export: .venv-export/ready  ## Run exported models in ONNX Runtime and OpenVINO, in an environment of their own (half an hour)
	OMP_NUM_THREADS=1 .venv-export/bin/python -m pytest -m export tests/export tests/cli/test_export.py

test-real: .venv-real/ready  ## Run published weights on photos, in an environment of their own
	OMP_NUM_THREADS=1 .venv-real/bin/python -m pytest -m real tests/bench/test_focus_model.py

lint: .venv/ready  ## Check the style
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/ready  ## Check the types
	.venv/bin/mypy

readme: .venv/ready  ## Write the generated tables of README.md and docs/ from their JSON files
	.venv/bin/python benchmarks/write_tables.py

docs: .venv-docs/ready  ## Build the documentation into site/, in an environment of its own without torch
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

dist: .venv-dist/ready  ## Build the source archive and, from it, the wheel into dist/, and check both
	rm -rf dist build
	.venv-dist/bin/python -m build
	.venv-dist/bin/twine check --strict dist/*

clean:  ## Remove environments and caches
	rm -rf .venv .torchao .venv-oldest .venv-timm .venv-export .venv-real .venv-docs .venv-dist build dist demo site .mypy_cache .pytest_cache .ruff_cache .hypothesis
