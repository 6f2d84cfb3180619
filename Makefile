# The project's commands. `make help` lists them; each does the set-up that it needs and can be run again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# What a fresh Debian 12 or 13 lacks. The lab builds an emulator and a root file system; the tests assemble.
PACKAGES := binutils cpio curl e2fsprogs g++ gcc git libc6-dev linux-libc-dev make mmdebstrap \
	openssl patch python3 python3-venv tmux xz-utils zstd

.PHONY: help setup demo figure test test-kernels test-fast test-vmm test-ends test-dist dist deb release fuzz mutants soak test-service style lint format bench lab docs man site linkcheck goldens clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.packages $(VENV)/.ready ## Install what is missing (apt packages, .venv)

$(VENV)/.packages: Makefile
	@missing=""; for p in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "setup: apt-get install$$missing"; \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@mkdir -p $(VENV) && touch $@

$(VENV)/.ready: pyproject.toml $(VENV)/.packages
	@echo "setup: $(VENV) with sldtrace and its development tools"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup ## Freeze a guest on an emulated Intel host, record it, print the report
	@$(BIN)/python -m examples.demo

figure: setup ## Measure the picture of the README again, on emulated hosts (minutes)
	@$(BIN)/python -m examples.figure

test: setup style ## Run the tests; in the emulated host all on one kernel, on the others what depends on it
	@$(BIN)/python -m pytest

test-kernels: setup style ## Run all tests on every kernel (an hour or more)
	@SLDTRACE_RATELIMIT=1 $(BIN)/python -m pytest --all-kernels

test-fast: setup ## Run the tests that need no emulated host (minutes)
	@$(BIN)/python -m pytest -n auto -m 'not lab and not dist'

test-service: setup ## Run the systemd unit in the emulated host, under systemd (minutes)
	@$(BIN)/python -m pytest -m service tests/integration

test-vmm: setup ## Run QEMU under the recorder in the emulated host; writes tables of docs/vmms.md and docs/the-bug.md (minutes)
	@SLDTRACE_VMMS=1 $(BIN)/python -m pytest --basetemp=vmms-output $(addprefix tests/integration/test_,vmm_matrix.py linux_vm.py nested_vm.py fixes.py)
	@$(BIN)/python -m tests.integration.vmms_page vmms-output/machines0/6.12-all-VMMs/out/vmms
	@$(BIN)/python -m tests.integration.fixes_page vmms-output/machines0/6.12-fixes/out/fixes

dist: setup ## Build wheel, sdist and sldtrace.pyz in dist/ (the same bytes from the same commit)
	@$(BIN)/python -m tools.dist dist

deb: setup ## Build the Debian package in dist/ (the same bytes, too), and check it with lintian
	@dpkg-checkbuilddeps 2>/dev/null && dpkg-query -W lintian >/dev/null 2>&1 || { \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get build-dep -y -qq ./ >/dev/null && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends lintian >/dev/null; }
	@$(BIN)/python -m tools.deb dist

release: setup ## Test everything and build what is released in dist/; uploads nothing
	@$(BIN)/python -m tools.release
	@$(MAKE) --no-print-directory lint test-kernels test-service test-ends test-dist dist deb
	@cd dist && sha256sum -- *$$(../$(BIN)/python -m tools.release --version)* sldtrace.pyz | tee SHA256SUMS

test-dist: setup ## Build the packages, install them in clean environments, run them there (minutes)
	@$(BIN)/python -m pytest -m dist tests/packaging

OLDEST := 'numpy==1.24.*' 'pandas==1.5.*' 'click==8.1.*' 'pyarrow<20'
NEWEST := numpy pandas click pyarrow
END_TESTS := tests/analyzers tests/commands tests/comparison tests/dataset tests/engine tests/export tests/prediction \
	tests/recording tests/reporters tests/test_api.py

define end
$(PYTHON) -m venv --clear build/ends/$(1)
build/ends/$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2) \
	hypothesis jinja2 jsonschema perfetto pytest pytest-xdist zstandard
build/ends/$(1)/bin/python -m pytest -n auto -p no:cacheprovider -m 'not lab and not dist' $(END_TESTS)

endef

test-ends: ## Run the tests of what uses pandas and numpy with their oldest and newest versions (PYTHON=, minutes)
	$(call end,oldest,$(OLDEST))
	$(call end,newest,$(NEWEST))

soak: setup ## Record for long in the emulated host, beside VMs and programs that come and go (an hour)
	@SLDTRACE_SOAK=1 $(BIN)/python -m pytest tests/integration/test_soak.py

INPUTS ?= 2000
SEED ?= 0

fuzz: setup ## Damage recordings and logs, and make every output (INPUTS=, SEED=); what fails is kept in fuzz-output
	@$(BIN)/python -m tests.fuzz.run --inputs $(INPUTS) --seed $(SEED)
	@$(BIN)/python -m tests.fuzz.run --inputs $(INPUTS) --seed $(SEED) --logs

ROOM ?= recording
MODULES ?=

mutants: setup ## Change the code of ROOM= (MODULES=: some of it), and run the tests that execute it (hours)
	@$(BIN)/python -m tests.mutants.run $(ROOM) $(MODULES)

style: setup
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .

lint: style ## Check style and types
	@$(BIN)/mypy

format: setup ## Put the code into the project's style
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

bench: setup ## Run the benchmarks (ratios, measured side by side; those in the emulated host take long)
	@for b in benchmarks/*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

lab: setup ## Build the emulated host for all kernels
	@$(BIN)/python -m lab build

docs: setup ## Write the generated parts of the documentation again
	@$(BIN)/python -m tools.format_page
	@$(BIN)/python -m tools.api_page
	@$(BIN)/python -m tools.lab_page
	@$(BIN)/python -m tools.json_schemas
	@$(BIN)/python -m tools.thresholds_page
	@$(BIN)/python -m tools.gallery_page
	@$(BIN)/python -m tools.report_figure
	@$(BIN)/python -m tools.limits_page
	@$(BIN)/python -m tools.outputs_page
	@$(BIN)/python -m tools.messages_page

man: setup ## Write manual pages and completions into build/
	@$(BIN)/python -m tools.man_pages
	@$(BIN)/python -m tools.completions

SITE := build/site

site: setup ## Make the documentation as a site, in build/site; warnings are errors
	@$(BIN)/python -m tools.site $(SITE)-source
	@$(BIN)/python -m sphinx -b html -W -n -q -c $(SITE)-source/docs $(SITE)-source $(SITE)
	@echo "$(SITE)/index.html"

# Not in CI: other sites change, and CI has no internet.
linkcheck: setup ## Look whether the documentation's links to other sites lead somewhere; needs the internet
	@$(BIN)/python -m tools.site $(SITE)-source
	@$(BIN)/python -m sphinx -b linkcheck -q -c $(SITE)-source/docs $(SITE)-source build/linkcheck

goldens: setup ## Write the reports that tests compare with again (read the difference before it is committed)
	@$(BIN)/python -m tests.reporters.cases
	@$(BIN)/python -m tests.commands.test_log

clean: ## Remove what the commands above made in this folder (the lab's cache stays: python3 -m lab clean)
	@rm -rf $(VENV) build dist demo-output vmms-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
