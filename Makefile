# Every task by one word. `make` lists them.

PYTHON := .venv/bin/python
ARCH   ?= sim
BOARD  ?= ulx3s-85f
SEEDS  ?= 1,2,3
JOBS   ?= 1
# Two at a time: what the SoC simulations and PyTorch leave room for on a small machine.
PYTEST := $(PYTHON) -m pytest -n 2
# NumPy: the golden model runs a process a core instead.
export OPENBLAS_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-slow lint sim bitstream synth ratios clean

help: ## list these
	@sed -n 's/^\([a-z-]*\): .*## /\1	/p' Makefile | expand -t 12
setup: ## install what demo and test need (once; apt packages, .venv)
	@scripts/setup.sh
demo: setup ## run MobileNetV2 on the simulated SoC and compare it with the golden model
	@$(PYTHON) -m litepress.bench.demo
test: setup lint ## all tests but those marked slow, the simulated SoC included
	$(PYTEST) -m "not slow"
test-fast: setup lint ## the tests that do not simulate the SoC
	$(PYTEST) -m "not slow and not soc"
test-slow: setup ## the tests marked slow
	$(PYTEST) -m slow
lint: setup ## ruff
	$(PYTHON) -m ruff check .
sim: setup ## build the simulator of the SoC (ARCH=sim, see spec/arch.py)
	$(PYTHON) -m litepress.soc.sim --arch $(ARCH)
bitstream: setup ## build a board's bitstream (BOARD=ulx3s-85f SEEDS=1,2,3, see soc/boards.py)
	@scripts/setup.sh build
	$(PYTHON) -m litepress.soc.board --board $(BOARD) --seeds $(SEEDS)
synth: setup ## size and clock of every core (CORES=a,b SEEDS=1,2,3 JOBS=1, see docs/cores)
	@scripts/setup.sh build
	$(PYTHON) -m litepress.bench.synth --seeds $(SEEDS) --jobs $(JOBS) $(if $(CORES),--cores $(CORES))
ratios: setup ## measure EBPC's compression ratios on photos (10 minutes)
	@scripts/setup.sh bench
	$(PYTHON) -m litepress.bench.ebpc_ratio
	$(PYTHON) -m litepress.bench.ebpc_ratio_tables
clean: ## remove everything that was generated; .venv stays
	rm -rf build .pytest_cache .ruff_cache .hypothesis
