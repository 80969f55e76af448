# `make demo` sets everything up and runs the default campaign; `make test` sets up and runs the tests.
SHELL := bash
CAMPAIGN ?= digits
BIN := .venv/bin
READY := .venv/.ready
FIT := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# The newest Python that runs (a name on the path may be a shim of a version that is not installed).
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	$$name -c '$(FIT)' 2>/dev/null && echo $$name && break; done)

# uv takes half of pip's time, but does not read pip's configuration: it is told where that finds packages. pip is the fallback.
INSTALLER ?= uv
UV := uv==0.13.9
PIP := $(BIN)/python -m pip install --quiet
PLACES = $(BIN)/python -m pip config list | tr -d "'" | awk ' \
	/[.]find-links=/ { option = "--find-links" } \
	/[.]index-url=/ { option = "--default-index" } \
	/[.]extra-index-url=/ { option = "--index" } \
	option { sub(/^[^=]*=/, ""); gsub(/\\n/, " "); n = split($$0, places, " "); \
		for (i = 1; i <= n; i++) print option, places[i]; option = "" }'
INSTALL = { [ "$(INSTALLER)" = uv ] && $(PIP) $(UV) && $(BIN)/uv pip install --quiet --compile-bytecode \
	--python $(BIN)/python --index-strategy unsafe-best-match $$($(PLACES)) $(1); } || $(PIP) $(1)

.PHONY: help setup demo test bench lint format publish ship ui unlock clean clean-results clean-all

help:  ## list the targets
	@grep -E '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY)  ## make the virtual environment .venv

# A virtual environment that works is kept, whatever PYTHON says: two Pythons in one would break it.
$(READY): requirements.txt constraints.txt pyproject.toml $(wildcard workflow/logger/*/*.py)
	@$(BIN)/python -c '$(FIT)' 2>/dev/null || '$(PYTHON)' -c '$(FIT)' 2>/dev/null || { \
	echo "ncfm needs Python 3.11, 3.12 or 3.13, but found $$($(or $(PYTHON),python3) --version 2>/dev/null || echo none);" \
	"name another: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(BIN)/python -c '$(FIT)' 2>/dev/null || '$(PYTHON)' -m venv --clear .venv
	@echo "Installing into .venv ($$($(BIN)/python --version)); this takes a few minutes the first time."
	@$(call INSTALL,-r requirements.txt -c constraints.txt)
	@$(call INSTALL,--no-deps -e . ./workflow/logger)
	@$(BIN)/python -m ncfm.core.torchvision_shim
	@touch $@

demo: $(READY)  ## run the default campaign (another: CAMPAIGN=NAME), which prints its table
	@$(BIN)/snakemake --cores all --quiet host reason --config campaign=$(CAMPAIGN)
	@echo; echo "page:    results/$(CAMPAIGN)/report.html"
	@echo "table:   results/$(CAMPAIGN)/tables/results.md (also .csv, .tex)"
	@echo "picture: results/$(CAMPAIGN)/figures/grid.png"

test: lint  ## run the linters, the type checker and the tests; print how much of ncfm/ they run (each file's: .coverage)
	@$(BIN)/python -m slipcover --source ncfm --out .coverage -m pytest; status=$$?; \
	awk '/^\(summary\)/ { print "coverage: " $$4 "% of the " $$2 " lines of ncfm/, not counting what other processes run" }' \
	.coverage; exit $$status

bench: $(READY)  ## time this machine: distillation, training, memory, scaling, Table 3 (half an hour on two cores)
	@for name in distillation training profiling scaling memory table3 report; do \
	echo "== benchmarks/$$name.py"; $(BIN)/python benchmarks/$$name.py || exit 1; done

lint: $(READY)  ## run the linters and the type checker
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check Snakefile workflow

format: $(READY)  ## format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt Snakefile workflow

dvc.yaml: $(READY) ncfm/stages/table.py ncfm/stages/cells.py ncfm/campaign/engines.py  ## write dvc.yaml from the table of stages
	@$(BIN)/python -m ncfm.campaign.engines > .dvc.yaml.new && mv .dvc.yaml.new dvc.yaml

docs/reference.md: $(READY) ncfm/core/params.py ncfm/report/reference.py  ## write the reference of all params
	@$(BIN)/python -m ncfm.report.reference > .reference.new && mv .reference.new $@

publish: $(READY)  ## write a campaign's page, tables and small results to results/published/ (CAMPAIGN=NAME)
	@$(BIN)/python -m ncfm.report.publish $(CAMPAIGN)

ship: $(READY)  ## copy pools of extractors and distilled sets to results/shipped/ (FILES="...")
	@$(BIN)/python -m ncfm.report.ship $(FILES)

ui: $(READY)  ## serve the runs in MLflow, with a link for each campaign
	@$(BIN)/ncfm ui

unlock: $(READY)  ## after Snakemake or DVC was killed: free the folder, mend what was left torn (make sure that none is running)
	@$(BIN)/snakemake --quiet all --unlock --config campaign=$(CAMPAIGN)
	@$(BIN)/python workflow/run_stage.py mend

clean:  ## remove the caches of the tools
	@rm -rf .mypy_cache .ruff_cache .pytest_cache dvc_plots
	@find ncfm tests workflow -name __pycache__ -prune -exec rm -rf {} +

clean-results:  ## remove all results except the published and shipped ones; DVC's cache still brings them back
	@find results -mindepth 1 -maxdepth 1 ! -name published ! -name shipped -exec rm -rf {} +

clean-all: clean clean-results  ## remove results, DVC's cache, Snakemake's notes and the virtual environment
	@rm -rf .dvc/cache .dvc/tmp .snakemake .venv dvc.lock params/dvc.lock
