"""strip: what only the tape needed goes."""

from tenor.compiler.simplify import strip
from tenor.ir.op import OPS
from tests.passes.programs import graph, lines, written


def test_identities_of_the_tape_go_and_barriers_stay():
    start = graph("""
        %0 = leaf f32[3]
        %1 = detach f32[3] (%0)
        %2 = variable f32[3] (%1)
        %3 = exp f32[3] (%2)
        %4 = function f32[3] (%3, %0) index=0
        %5 = barrier f32[3] (%4)
        return %5, %4
    """)
    assert written(strip(start)) == lines("""
        %0 = leaf f32[3]
        %1 = exp f32[3] (%0)
        %2 = barrier f32[3] (%1)
        return %2, %1
    """)


def test_a_graph_without_tape_operations_keeps_its_nodes():
    start = graph("""
        %0 = leaf f32[3]
        %1 = exp f32[3] (%0)
        return %1
    """)
    assert strip(start).nodes == start.nodes


def test_a_leaf_and_its_update_may_become_one_value():
    start = graph("""
        %0 = leaf f32[3]
        %1 = variable f32[3] (%0)
        return %1
        update %0 0
    """)
    result = strip(start)
    assert result.outputs == (result.nodes[0],)
    assert result.updates == ((result.nodes[0], 0),)


def test_no_tape_operation_is_left_of_any_kind():
    left = {"barrier"}
    assert {name for name, op in OPS.items() if op.family == "tape"} - left == {
        "detach", "variable", "function",
    }  # fmt: skip
