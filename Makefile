PYTHON ?= python
# what pytest runs; nothing: its settings in pyproject.toml
TESTS ?=

.PHONY: check format test browser mutants

check:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m pyright
	$(PYTHON) -m pytest $(TESTS)

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

test:
	$(PYTHON) -m pytest

browser:
	$(PYTHON) -m pytest tests/browser

# breaks the package on purpose, a line at a time: every break must be noticed by the tests named for it
mutants:
	$(PYTHON) tests/mutants/run.py
