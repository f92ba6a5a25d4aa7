# Attention in Vision. Every target makes .venv from requirements.txt first; nothing else is needed
# but Python 3.11 to 3.13 (with venv) and make. `make help` lists the targets.

PYTHON ?= python3
PROFILE ?=
CHAPTER ?=
NAME ?=
EXECUTED ?=
PARAMETERS ?=
QUICK ?=
ONLY ?=
UV ?= uv

# What is given in these is text: make does not expand it, and the shell finds it in its environment, as "$$CHAPTER".
GIVEN := PYTHON UV PROFILE CHAPTER NAME EXECUTED PARAMETERS ONLY
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)

VENV := .venv
READY := $(VENV)/ready
RUN := $(VENV)/bin/python
PYTEST := $(RUN) -m pytest
PROOF := $(RUN) -m bookproof
BUILD := $(VENV)/bin/jupyter-book build --all -W -n --keep-going

# Of every program started here: TensorFlow keeps its log to itself, and NumPy's BLAS to one thread, as several of them
# wait for one another where something else runs too.
export TF_CPP_MIN_LOG_LEVEL := 3
export OPENBLAS_NUM_THREADS := 1

# Of the tests of all chapters those of one, if it is named.
ONE := $(if $(CHAPTER),-k "$$CHAPTER")

# Two at a time: whole files (a chapter is one), or what the tests themselves keep together, or single tests, of which
# whoever is done takes over some of the other's.
TWO := -n 2 --dist

.DEFAULT_GOAL := help
.NOTPARALLEL: # the steps of `test` run one after the other, also under `make -j`
.DELETE_ON_ERROR:
.PHONY: help book html test data style stale units chapters quick pages chapter execute verify refresh
.PHONY: mutations lies colab backends bench links pins clean

help: ## list the targets
	@echo "Attention in Vision: make TARGET"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): requirements.txt pyproject.toml bookproof/pyproject.toml
	@"$$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	  echo "The book needs Python 3.11, 3.12 or 3.13, but $$PYTHON is $$("$$PYTHON" --version 2>&1)." >&2; \
	  echo "Install one and name it, for example: make PYTHON=python3.12 book" >&2; exit 1; }
	@echo "Making $(VENV) from requirements.txt; this takes a few minutes, once."
	@"$$PYTHON" -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e . -e ./bookproof
	@touch $@

book: $(READY) ## render the committed chapters to _build/html (PROFILE=quick: execute and render those outputs)
ifneq ($(filter-out published,$(PROFILE)),)
	@$(PROOF) lay-out --profile "$$PROFILE"
	@echo "Rendering it; warnings are errors."
	@$(BUILD) "_build/book-$$PROFILE"
	@echo "Open _build/book-$$PROFILE/_build/html/index.html"
else
	@echo "Rendering the committed chapters; nothing is executed, warnings are errors."
	@$(BUILD) .
	@echo "Open _build/html/index.html"
endif

html: book ## the same as book

ifdef CHAPTER
test: data style stale chapters quick pages
	@echo "All steps passed for the chapter $$CHAPTER: style, stale, chapters, quick, pages."
else
test: data style stale units chapters quick pages ## everything that keeps the book honest; the first step that fails ends it (CHAPTER=eanet: what is asked of one)
	@echo "All steps passed: style, stale, units, chapters, quick, pages."
endif

data: $(READY)
	@$(PROOF) which

style: $(READY) ## step 1 of test: ruff, check and format, and mypy
	@echo "Step 1 of 6, style: ruff check, ruff format --check, mypy"
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(RUN) -m mypy --config-file bookproof/pyproject.toml bookproof/src

stale: $(READY) ## step 2 of test: which chapters must be refreshed, and why; silent if none
	@$(PROOF) stale --chapter "$$CHAPTER"

units: $(READY) ## step 3 of test: unit tests
	@echo "Step 3 of 6, units: the package and the tools that verify the book"
	@TF_NUM_INTRAOP_THREADS=1 $(PYTEST) $(TWO) loadfile tests --ignore=tests/book --ignore=tests/browser

chapters: $(READY) ## step 4 of test: execute the chapters and compare with the committed outputs
	@echo "Step 4 of 6, chapters: every committed output against a fresh execution, with more room in these cells:"
	@$(PROOF) room
	@$(PYTEST) $(TWO) loadfile --nbval $(if $(CHAPTER),"book/$$CHAPTER.ipynb",book)

quick: $(READY) ## step 5 of test: papermill runs the chapters in the quick profile, in bounded time and memory
	@echo "Step 5 of 6, quick: papermill executes every chapter in the quick profile"
	@$(PYTEST) $(TWO) worksteal tests/book/test_quick_profile.py $(ONE)

pages: book ## step 6 of test: build the book, check its pages, in a browser too, and the notebooks' hygiene
	@echo "Step 6 of 6, pages: the built pages, on disk and in a browser, and the hygiene of the notebooks"
	@$(PYTEST) $(TWO) loadgroup tests/book tests/browser --ignore=tests/book/test_quick_profile.py $(ONE)
ifdef CHAPTER # of all chapters the units ask it
	@$(PROOF) check "book/$$CHAPTER.ipynb"
endif

chapter: $(READY) ## write a new chapter that passes every check, to begin with (NAME=demo)
	@test -n "$$NAME" || { echo "Say what it is called: make chapter NAME=demo" >&2; exit 2; }
	@$(PROOF) new "$$NAME"
	@$(PROOF) refresh --chapter "$$NAME"

execute: $(READY) ## execute into _build/executed/PROFILE (PROFILE=quick|published|full CHAPTER=eanet PARAMETERS="name=value")
	@set -f; $(PROOF) execute --profile "$${PROFILE:-quick}" --chapter "$$CHAPTER" --set $$PARAMETERS

verify: $(READY) ## compare chapters that were executed elsewhere with the committed ones, no kernel (EXECUTED=dir)
	@test -n "$$EXECUTED" || { echo "Say where the executed chapters are: make verify EXECUTED=dir" >&2; exit 2; }
	@$(PROOF) verify "$$EXECUTED"

refresh: $(READY) ## execute in the published profile and put the outputs back into book/ (CHAPTER=eanet)
	@$(PROOF) refresh --chapter "$$CHAPTER"

mutations: $(READY) ## plant deliberate faults in copies; every one must be caught by the check named beside it
	@$(RUN) -m tests.mutations

lies: $(READY) ## plant lies in copies of the book, one by one and all at once; every one must be caught, nothing is executed
	@$(RUN) -m tests.mutations --lies

colab: $(READY) ## run every committed chapter as a bare notebook, with the oldest, today's and the newest versions (takes long)
	@$(PYTEST) tests/colab

backends: $(READY) ## what runs where: tests, chapters and records on three backends, oldest and newest Keras (ONLY="jax eanet"; takes hours)
	@set -f; $(RUN) -m tests.backends $$ONLY

bench: $(READY) ## measure what attention costs, what is missing of benchmarks/results (QUICK=1: a small range, print only)
	@$(RUN) benchmarks/cost.py $(if $(QUICK),--quick)

links: $(READY) ## ask every address on other hosts whether it answers (the links within the book are a unit test)
	@$(PROOF) check --external

pins: ## what is pinned, derived again from what is asked for; nothing changes if it follows (needs uv, and an index)
	@for asked in requirements.in .github/requirements/*.in; do \
	  "$$UV" pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header \
	    "$$asked" --output-file "$${asked%.in}.txt" || exit 1; \
	done

clean: ## remove _build; .venv stays
	@rm -rf _build
	@echo "Removed _build."
