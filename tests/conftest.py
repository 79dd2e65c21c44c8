"""Counts what tests compared, and says so at the end: `ops: 4711 cases (op x dtype x ...)`."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

COUNTS = pytest.StashKey[Counter]()
WORKER_KEY = "tenor_counts"


def pytest_configure(config):
    config.stash[COUNTS] = Counter()


@pytest.fixture(scope="session")
def count(request):
    """Return `count(kind, axes, cases=1)`: notes that cases were compared.

    Example:
        def test_add(count):
            assert add(1, 2) == 3
            count("ops", "op x dtype x shape x mode")
    """
    held = request.config.stash[COUNTS]

    def note(kind, axes, cases=1):
        held[kind, axes] += cases

    return note


def pytest_sessionfinish(session):
    """Hand a worker's counts to the process that started it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        held = session.config.stash[COUNTS]
        output[WORKER_KEY] = [[kind, axes, n] for (kind, axes), n in held.items()]


def pytest_collection_finish():
    """Spare the garbage collector what lasts as long as the tests: modules, and the tests."""
    gc.collect()
    gc.freeze()


class FromWorkers:
    """Takes in what the workers of pytest-xdist counted."""

    def __init__(self, config):
        self.held = config.stash[COUNTS]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        for kind, axes, n in getattr(node, "workeroutput", {}).get(WORKER_KEY, []):
            self.held[kind, axes] += n


def pytest_sessionstart(session):
    session.config.pluginmanager.register(FromWorkers(session.config), "tenor-counts")


def pytest_terminal_summary(terminalreporter, config):
    for (kind, axes), n in sorted(config.stash[COUNTS].items()):
        terminalreporter.write_line(f"{kind}: {n} cases ({axes})")
