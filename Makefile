PYTHON ?= python
# what pytest runs; nothing: its settings in pyproject.toml
TESTS ?=

.PHONY: check format test browser

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
