"""The benchmarks are run in this process: what they leave behind is taken away."""

import pytest

from tenor.engine import backend


@pytest.fixture(autouse=True)
def _unobserved():
    before = list(backend.observers)
    yield
    backend.observers[:] = before
