# Two words do everything: `make demo` (a real campaign that fits this computer) and `make test`;
# `make quick` is the first part of `make test`, for while one works.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-out
# Files of tests go to two workers in order: much of what they wait for are other processes.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo quick test setup format lint types check clean

setup: $(VENV)/.ready

# Without --no-compile pip compiles 19,000 files for a minute and a half, most of which nobody imports.
$(VENV)/.ready: constraints.txt pyproject.toml
	@echo "Setting up $(VENV): about two minutes the first time."
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev]' 2>$(VENV)/pip.log || { tail -n 20 $(VENV)/pip.log; exit 1; }
	@touch $@

demo: setup
	@sh system-packages.sh ld=binutils
	@$(BIN)/farm demo --store $(DEMO)

# What is not marked as slow: a verdict within three minutes on two cores, with nothing to install.
quick: setup lint types
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(WORKERS) -m "not slow"

test: setup lint types
	@sh system-packages.sh ld=binutils 'cc=gcc libc6-dev' qemu-aarch64=qemu-user \
		aarch64-linux-gnu-ld=binutils-aarch64-linux-gnu sshd=openssh-server \
		ssh-keygen=openssh-client qemu-system-aarch64=qemu-system-arm mke2fs=e2fsprogs chromium=chromium
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(WORKERS) --durations=80 --durations-min=5

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: setup
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
