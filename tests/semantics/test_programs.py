"""Random programs of views, in-place writes, looks and backward passes do what PyTorch's do."""

from __future__ import annotations

import pytest

from tenor.config import config
from tenor.engine import flush
from tenor.engine.backend import ReferenceRunner
from tenor.engine.trace import reset_trie
from tests.semantics.programs import Program


class DonatingRunner(ReferenceRunner):
    """The interpreter, writing over what was donated as compiled programs do."""

    def __init__(self, graph):
        super().__init__(graph)
        leaves = [n for n in graph.nodes if n.op.name == "leaf"]
        self.given = {position: leaves.index(leaf) for leaf, position in graph.updates}
        self.donated = tuple(self.given.values())

    def run(self, inputs, scalars):
        outputs, code, value = super().run(inputs, scalars)
        for position, leaf in self.given.items():
            inputs[leaf].assign(outputs[position])
            outputs[position] = inputs[leaf]
        return outputs, code, value


@pytest.fixture
def fresh():
    reset_trie()
    yield
    reset_trie()


@pytest.mark.parametrize("cap", [20_000, 3, 5, 7, 11])
def test_programs_on_the_interpreter(fresh, monkeypatch, count, cap):
    """Views, writes and gradients are the engine's: the interpreter shows them as fast as any.

    Args:
        cap: Operations after which a trace is run unasked, anywhere in a program.
    """
    monkeypatch.setattr(flush, "load", DonatingRunner)
    monkeypatch.setattr(config, "max_pending_ops", cap)
    for seed in range(150):
        Program(1000 * cap + seed).run(25)
        count("semantics", "random programs x pending cap beside PyTorch")


def test_programs_compiled(fresh, count):
    for seed in range(12):
        Program(700_000 + seed).run(25)
        count("semantics", "random programs x pending cap beside PyTorch")


def test_long_programs(fresh, monkeypatch, count):
    monkeypatch.setattr(flush, "load", DonatingRunner)
    for seed in range(40):
        Program(800_000 + seed).run(90)
        count("semantics", "random programs x pending cap beside PyTorch")
