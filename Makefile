# Two commands do everything: `make demo` and `make test`. All paths are relative, so the folder may have any name.

PYTHON ?= python3
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# Says where, so that an installation that was moved is made anew, and is dated last, so that one that was cut short, or
# did not compile, is tried again.
STAMP := $(VENV)/installed-in
ifneq "$(shell cat $(STAMP) 2>/dev/null)" "$(CURDIR)"
.PHONY: $(STAMP)
endif

# What is compiled, and the Python that says what and how: when one of these changes, the package is installed anew.
NATIVE := src/unrolled/engines/native
COMPILED_FROM := $(wildcard native/* src/unrolled/cells/*.py) $(addprefix $(NATIVE)/,printing.py compiling.py)

# What the machine must bring; headers and compiler are for native code, which is built where Unrolled is installed.
HAS_VERSION := import sys; sys.exit(sys.version_info < (3, 11))
HAS_VENV := import ensurepip, venv
HAS_HEADERS := import os, sys, sysconfig; sys.exit(not os.path.isfile(sysconfig.get_path("include") + "/Python.h"))
define CHECK_MACHINE
missing() { echo "missing: $$1" >&2; exit 1; }; \
command -v "$(PYTHON)" >/dev/null || missing "$(PYTHON); install it: sudo apt-get install python3"; \
"$(PYTHON)" -c '$(HAS_VERSION)' || missing "Python 3.11 or newer, for $(PYTHON) is $$("$(PYTHON)" --version); \
name another: make PYTHON=python3.11"; \
"$(PYTHON)" -c '$(HAS_VENV)' 2>/dev/null || missing "venv of $(PYTHON); install it: sudo apt-get install python3-venv"; \
"$(PYTHON)" -c '$(HAS_HEADERS)' || missing "Python.h of $(PYTHON); install it: sudo apt-get install python3-dev"; \
command -v $(firstword $(CXX)) >/dev/null || missing "a C++ compiler, $(CXX); install it: sudo apt-get install g++"
endef

.DEFAULT_GOAL := help
.PHONY: help demo install test test-all format clean

help: ## show this list
	@echo "Unrolled: recurrent neural networks on sequences"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Options:"
	@echo "  PYTHON=NAME     the Python to use, 3.11 or newer (now $(PYTHON))"
	@echo "  TORCH_INDEX=URL where to take torch from instead, for instance PyTorch's own CPU index"
	@echo "                  where the plain package brings GPU libraries that you do not want"

demo: $(STAMP) ## train, evaluate, score and generate on the embedded corpus within two minutes
	@$(BIN)/unrolled demo

install: $(STAMP) ## create .venv with the package and the tools of this file

test: ## check format, lint, types and import order, then run the tests and the README's commands
test-all: ## the same with the tests that take longer; needs g++-aarch64-linux-gnu too
test test-all: $(STAMP)
	@echo "== format"
	@$(BIN)/ruff format --check
	@$(BIN)/clang-format --dry-run --Werror native/*.h native/*.cpp
	@echo "== lint"
	@$(BIN)/ruff check
	@echo "== types"
	@$(BIN)/mypy
	@echo "== import order"
	@$(BIN)/lint-imports
	@echo "== tests"
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(if $(filter test-all,$@),-m "")

format: $(STAMP) ## format the code and put right what the linter can
	@$(BIN)/ruff check --fix --exit-zero
	@$(BIN)/ruff format
	@$(BIN)/clang-format -i native/*.h native/*.cpp

clean: ## remove .venv, builds and caches; models stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf $(NATIVE)/*.so $(NATIVE)/include
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt $(COMPILED_FROM)
	@$(CHECK_MACHINE)
	@echo "== install into $(VENV); torch is large, and native code is compiled"
	@test "$$(cat $@ 2>/dev/null)" = "$$(pwd -P)" || { "$(PYTHON)" -m venv --clear $(VENV) && pwd -P > $@; }
	@touch -t 200001010000 $@
	@$(if $(TORCH_INDEX),$(PIP) --index-url "$(TORCH_INDEX)" torch)
	@$(PIP) --editable ".[dev]"
	@touch $@
