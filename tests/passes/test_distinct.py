"""distinct: every output has a buffer of its own."""

from tenor.compiler.simplify import distinct
from tests.passes.programs import after, graph, lines, written


def test_leaves_scalars_and_repeated_outputs_are_copied():
    start = graph("""
        %0 = leaf f32[3]
        %1 = scalar f32[]
        %2 = exp f32[3] (%0)
        return %0, %2, %2, %1
    """)
    assert written(distinct(start)) == lines("""
        %0 = leaf f32[3]
        %1 = scalar f32[]
        %2 = exp f32[3] (%0)
        %3 = barrier f32[3] (%0)
        %4 = barrier f32[3] (%2)
        %5 = barrier f32[] (%1)
        return %3, %2, %4, %5
    """)


def test_outputs_that_are_distinct_are_left_alone():
    start = graph("""
        %0 = leaf f32[3]
        %1 = exp f32[3] (%0)
        %2 = neg f32[3] (%1)
        return %2, %1
    """)
    result = distinct(start)
    assert result.nodes == start.nodes
    assert result.outputs == start.outputs


def test_it_undoes_what_merging_did_to_outputs():
    start = graph("""
        %0 = leaf f32[3]
        %1 = exp f32[3] (%0)
        %2 = exp f32[3] (%0)
        return %1, %2
    """)
    result = after("distinct", start)
    assert len(set(result.outputs)) == 2
    assert [n.op.name for n in result.nodes] == ["leaf", "exp", "barrier"]
