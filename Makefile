# Two commands: `make demo` and `make test`. Both need only Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench clean

# --extra-index-url etc. are left to pip's own configuration.
$(VENV)/demo.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[serve,tensorboard]"
	touch $@

$(VENV)/dev.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@ $(VENV)/demo.stamp

$(VENV)/bench.stamp: $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	touch $@

demo: $(VENV)/demo.stamp  ## train, save, serve and check a digit classifier
	$(BIN)/tenor demo

test: $(VENV)/dev.stamp  ## the whole suite
	./check --all

check: $(VENV)/dev.stamp  ## format, lint, types, layers, fast tests
	./check

bench: $(VENV)/bench.stamp  ## beside PyTorch, torch.compile, JAX and ONNX Runtime, interleaved
	$(BIN)/python benchmarks/run.py $(ROWS)

clean:
	rm -rf $(VENV) build dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
