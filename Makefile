# Two commands matter: `make train` and `make test`. Both set up what they need; nothing but Python >= 3.11, git and make is expected.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
.DEFAULT_GOAL := help

# Programs that look at the project from outside have an environment of their own: they are in no pin and no SBOM.
TOOLS  := .cache/tools
MUTMUT := .cache/mutation
TORCH  := .cache/torch.txt
PIP    := -m pip install --quiet --disable-pip-version-check
ALL    := train,serve,labels,scale,gcs,dev
QUICK  := -m pytest -q -m 'not slow' -n auto --maxprocesses 4 --dist loadfile
DIST   ?= dist
OF     ?= $(BIN)/python

.PHONY: help install train test check docs wheel sbom audit test-lowest test-newest pins-lowest fuzz kill-matrix mutation clean

help:
	@echo "make train   train on the shipped articles, evaluate, log to MLflow, make the first model the champion"
	@echo "make test    install what the tests need and run all of them"
	@echo "make check   ruff, mypy and the import directions"
	@echo "make fuzz    spoiled inputs of every kind for FUZZ_SECONDS (600); make test has a short look"
	@echo "make kill-matrix   kill every writer KILLS=20 times and print the table (some twenty minutes)"
	@echo "make docs    the documentation as a site, in site/; stops at a broken link"
	@echo "make wheel   wheel and source archive of the last commit, the same bytes everywhere, in dist/"
	@echo "make sbom    what is installed, with licences, as CycloneDX, in dist/; OF=path/to/python for another environment"
	@echo "make audit   ask for known vulnerabilities of every pin; needs a network"
	@echo "make test-lowest, make test-newest   the quick tests with the lowest and the newest versions allowed"
	@echo "make mutation   how many small defects of the core modules the tests notice, a sample; MODULES='whole' for some"
	@echo "make clean   remove what the pipeline made (not the environment)"

# torch comes first and pinned: a newer one would bring several gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing packages into $(VENV): some minutes and about two gigabytes, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,serve,labels]'
	@touch $@

# What only the tests and checks need comes with them. The launcher for Ray asks for an old cloudpickle, works with the new one, and is here for one test.
$(VENV)/.complete: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,serve,labels,scale,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps hydra-ray-launcher
	@touch $@

install: $(VENV)/.installed

train: install
	@if $(BIN)/dvc status --quiet; then $(BIN)/crosshead show; else $(BIN)/dvc repro --quiet || { \
	echo "make train did not finish. If nothing above says why, another one is at work in this folder: wait for it." >&2; \
	exit 1; }; fi

test: $(VENV)/.complete
	$(BIN)/python -m pytest -q -m 'not slow' -n auto --maxprocesses 4 --dist loadfile
	$(BIN)/python -m pytest -q -m slow

check: $(VENV)/.complete
	$(BIN)/ruff check src tests docs/*.py
	$(BIN)/ruff format --check src tests docs/*.py
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.complete
	$(BIN)/python tests/fuzz_long.py --seconds $(FUZZ_SECONDS)

KILLS ?= 20
kill-matrix: $(VENV)/.complete
	$(BIN)/python tests/kill_matrix.py $(KILLS)

# What comes from the code is written anew first, so that the site is never older than the code.
docs: $(VENV)/.complete
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_picture.py
	$(BIN)/python -m sphinx -b html -c docs -W --keep-going -q -d .cache/docs . site
	@echo "site/index.html"

# The last commit and not the working tree: what is not committed gets into no wheel.
wheel: $(VENV)/.complete
	@rm -rf .cache/wheel && mkdir -p .cache/wheel "$(DIST)"
	@git archive HEAD | tar -x -C .cache/wheel
	@bin="$$(cd "$(BIN)" && pwd)" out="$$(cd "$(DIST)" && pwd)" SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)"; \
	export SOURCE_DATE_EPOCH; cd .cache/wheel && "$$bin/python" -m hatchling build -d "$$out" >/dev/null
	@rm -rf .cache/wheel
	@"$(BIN)/python" -m pip hash "$(DIST)"/crosshead-*

sbom: $(VENV)/.complete
	@mkdir -p $(DIST)
	@$(BIN)/cyclonedx-py environment --output-reproducible --gather-license-texts --pyproject pyproject.toml -o $(DIST)/sbom.json $(OF)
	@echo "$(DIST)/sbom.json"

$(TOOLS)/.installed: constraints-tools.txt
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python $(PIP) -r constraints-tools.txt
	@touch $@

# A pin that cannot be looked up is skipped unless --strict is given, and what is skipped passes.
audit: $(TOOLS)/.installed
	@$(TOOLS)/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt || { \
	echo "make audit did not pass. The last line above says why: a known vulnerability, or a pin that could not be asked for." >&2; \
	exit 1; }

# Of every direct dependency the lowest version that pyproject.toml allows, of all others the newest that goes with them.
pins-lowest: $(TOOLS)/.installed
	@$(TOOLS)/bin/uv pip compile --quiet --resolution lowest-direct --all-extras --python-version 3.11 --no-header \
	--no-annotate pyproject.toml | grep -vE '^(cuda|nvidia|triton)' > constraints-lowest.txt

# torch as in `make train`, and for the same reason.
$(TORCH): constraints.txt
	@mkdir -p $(@D)
	@grep '^torch==' constraints.txt > $@

test-lowest: constraints-lowest.txt pyproject.toml
	@rm -rf .cache/lowest && $(PYTHON) -m venv .cache/lowest
	@.cache/lowest/bin/python $(PIP) -c constraints-lowest.txt torch
	@.cache/lowest/bin/python $(PIP) -c constraints-lowest.txt -e '.[$(ALL)]'
	.cache/lowest/bin/python $(QUICK)

test-newest: $(TORCH)
	@rm -rf .cache/newest && $(PYTHON) -m venv .cache/newest
	@.cache/newest/bin/python $(PIP) -c $(TORCH) torch
	@.cache/newest/bin/python $(PIP) -c $(TORCH) -e '.[$(ALL)]'
	.cache/newest/bin/python $(QUICK)

# Beside the environment and not in it: mutmut would raise the lower bounds that the package itself does not need.
$(MUTMUT)/.installed: constraints-mutation.txt $(VENV)/.complete
	@rm -rf $(MUTMUT) && $(BIN)/python $(PIP) --no-deps --target $(MUTMUT) -r constraints-mutation.txt
	@touch $@

mutation: $(MUTMUT)/.installed
	@PYTHONPATH="$$(pwd)/$(MUTMUT)" $(BIN)/python tests/mutation.py $(MODULES)

clean:
	rm -rf dist site mutants data/prepared models reports mlflow .cache/crosshead
