# Two commands matter: `make train` and `make test`. Both set up what they need; nothing but Python >= 3.11, git and make is expected.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: help install train test check docs bench clean kill-matrix

help:
	@echo "make train   train on the shipped articles, evaluate, log to MLflow, make the first model the champion"
	@echo "make test    install what the tests need and run all of them"
	@echo "make check   ruff, mypy and the import directions"
	@echo "make kill-matrix   kill every writer KILLS=20 times and print the table (some twenty minutes)"
	@echo "make docs    the documentation as a site, in site/; stops at a broken link"
	@echo "make clean   remove what the pipeline made (not the environment)"

# torch comes first and pinned: a newer one would bring several gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing packages into $(VENV): some minutes and about two gigabytes, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,serve,labels]'
	@touch $@

# What only the tests and checks need comes with them.
$(VENV)/.complete: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,serve,labels,scale,dev]'
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

KILLS ?= 20
kill-matrix: $(VENV)/.complete
	$(BIN)/python tests/kill_matrix.py $(KILLS)

# What comes from the code is written anew first, so that the site is never older than the code.
docs: $(VENV)/.complete
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_picture.py
	$(BIN)/python -m sphinx -b html -c docs -W --keep-going -q -d .cache/docs . site
	@echo "site/index.html"

clean:
	rm -rf site data/prepared models reports mlflow .cache/crosshead
