# Two commands: `make report` and `make test`. Each creates the environment if it is missing.
# Then: `make docs` (the guide), `make thesis` (its experiments, small), `make lint`, `make test-slow`, `make clean`.
# All paths are relative, so that a checkout in a folder with a space in its name works.
PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# Two makes at once take turns at the set-up where the system has flock.
LOCK := $(shell command -v flock >/dev/null 2>&1 && echo flock .venv.lock)

.PHONY: report test test-slow thesis lint docs clean
report: .venv/.run
	@$(PY) -m distfit_nn.cli report data/mnist_mlp --output build/report.html

test: .venv/.test
	@$(PY) -m pytest -n auto --dist loadfile

test-slow: .venv/.test
	@$(PY) -m pytest -n auto --dist loadfile -m slow

thesis: .venv/.run
	@$(PY) analysis/thesis/all.py --quick --overwrite

lint: .venv/.dev
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

docs: .venv/.docs
	@$(PY) -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -b html docs build/docs \
	  && echo build/docs/index.html

clean:
	rm -rf .venv .venv.lock build docs/reference

# A stamp is written last: an interrupted set-up is done again.
.venv/.run: EXTRA :=
.venv/.test: EXTRA := [test]
.venv/.dev: EXTRA := [test,dev]
.venv/.docs: EXTRA := [docs]
.venv/.run .venv/.test .venv/.dev .venv/.docs: pyproject.toml constraints.txt
	@$(LOCK) sh -c 'set -e; \
	  if [ -e $@ ] && [ $@ -nt pyproject.toml ] && [ $@ -nt constraints.txt ]; then exit 0; fi; \
	  $(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and \
	    \"distfit_nn needs Python 3.11 or newer, found \" + sys.version.split()[0] + \" (set PYTHON=...)\")"; \
	  echo "setting up .venv$(if $(EXTRA), $(EXTRA),) (a few minutes the first time)" >&2; \
	  $(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv; \
	  $(PIP) install --quiet --constraint constraints.txt --editable ".$(EXTRA)"; \
	  touch $@'
