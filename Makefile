# make lab     set up .venv once, then open JupyterLab on the course: make lab ARGS="05 --no-browser --port 8899"
# The rest is for instructors: make test, make release, make grade, make bench.

PYTHON ?= python3
VENV := .venv
COURSE := $(VENV)/bin/course
ARGS ?=

.PHONY: lab
lab: $(VENV)/.lab
	$(COURSE) lab $(ARGS)

# A stamp is newer than the two files that say what to install, or the step is done again.
# The environment is made anew unless its pip runs, so that an interrupted set-up heals itself.
$(VENV)/.lab: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "The course needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)."; \
	  echo "Install one and name it: make lab PYTHON=python3.12"; exit 1; }
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "$(PYTHON) cannot make a virtual environment. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Setting up $(VENV): a minute or two and about 2 GB, this once."
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

# --- instructor's part: the students' distribution is without what follows ---

$(VENV)/.test: $(VENV)/.lab
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,grade]'
	@touch $@

# make test ARGS="--numprocesses=2 --dist=loadfile": two processes share the tests, each file whole in one of them.
.PHONY: test release grade bench
test: $(VENV)/.test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/python -m pytest $(ARGS)

release: $(VENV)/.test
	$(COURSE) release $(ARGS)

grade: $(VENV)/.test
	$(COURSE) grade $(ARGS)

bench: $(VENV)/.test
	$(COURSE) bench notebooks $(ARGS)
