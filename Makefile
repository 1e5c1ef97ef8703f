# Two commands from a fresh clone: `make demo` and `make test`. Nothing but Python 3.11+ and make is needed.
PYTHON ?= python3
PIP_FLAGS := --quiet --disable-pip-version-check

.PHONY: demo example test test-triton test-slow test-timm lint types readme clean help

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-timm/ready: pyproject.toml constraints-timm.txt
	$(PYTHON) -m venv .venv-timm
	.venv-timm/bin/python -m pip install $(PIP_FLAGS) --constraint constraints-timm.txt --editable '.[timm]' pytest
	touch $@

demo: .venv/ready  ## Search, ask and label clips with the bundled model, merged and unmerged
	.venv/bin/vidtldr demo

example: .venv/ready  ## Make a clip and a tiny untrained model in demo/, and classify the clip merged and unmerged
	.venv/bin/python examples/01_demo.py

test: .venv/ready  ## Run the tests (a few minutes on two cores)
	.venv/bin/python -m pytest
	$(MAKE) test-triton

test-triton: .venv/ready  ## Run the GPU kernels' tests on the CPU, in Triton's interpreter (part of `make test`)
	TRITON_INTERPRET=1 .venv/bin/python -m pytest -m triton tests/ops tests/hosts/test_triton.py

test-slow: .venv/ready  ## Run the tests that take longer
	.venv/bin/python -m pytest -m 'slow and not timm and not triton and not gpu'

test-timm: .venv-timm/ready  ## Run timm's tests in an environment of their own (timm needs torchvision)
	.venv-timm/bin/python -m pytest -m timm tests/hosts/test_timm.py tests/video/test_processors.py

lint: .venv/ready  ## Check the style
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/ready  ## Check the types
	.venv/bin/mypy

readme: .venv/ready  ## Write the measured table of README.md from its JSON file
	.venv/bin/python benchmarks/write_readme_table.py

clean:  ## Remove environments and caches
	rm -rf .venv .venv-timm build dist demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
