"""The list of passes: order, what can be skipped, what is recorded."""

from pathlib import Path

import pytest

from tenor.compiler import PASSES, compile
from tenor.ir.node import Graph
from tests.passes.programs import TARGET, graph, names

EXAMPLE = """
    %0 = leaf f32[4,5]
    %1 = exp f32[4,5] (%0)
    %2 = sum f32[4,1] (%1) dims=[1]
    return %2
"""


def test_each_pass_has_a_file_of_tests():
    here = Path(__file__).parent
    missing = [n for n in names() if not (here / f"test_{n.replace('-', '_')}.py").exists()]
    assert missing == [], f"tests/passes has no file for {', '.join(missing)}"


def test_each_pass_leaves_a_snapshot_and_the_graph_passes_stand_before_the_others():
    trace = []
    compile(graph(EXAMPLE), TARGET, trace=trace)
    assert [step.name for step in trace] == names()
    assert all(step.seconds >= 0 for step in trace)
    graphs = [step.name for step in trace if isinstance(step.value, Graph)]
    assert graphs == names()[: names().index("fuse")]


@pytest.mark.parametrize("step", PASSES, ids=lambda p: p.name)
def test_a_skipped_pass_is_left_out_or_done_plainly(step):
    trace = []
    program = compile(graph(EXAMPLE), TARGET, skip=frozenset((step.name,)), trace=trace)
    there = step.name in [s.name for s in trace]
    assert there == (step.required or step.plain is not None)
    assert len(program.launches) >= 1


def test_compiling_changes_nothing_of_the_graph():
    start = graph(EXAMPLE)
    before = start.nodes, start.outputs, [n.inputs for n in start.nodes]
    compile(start, TARGET)
    assert before == (start.nodes, start.outputs, [n.inputs for n in start.nodes])
