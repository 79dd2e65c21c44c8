"""dead: what no output depends on goes; parameters keep their numbers."""

from tenor.compiler.simplify import dead
from tests.passes.programs import graph, lines, written


def test_a_value_nobody_wants_goes_and_what_only_it_needed():
    start = graph("""
        %0 = leaf f32[3]
        %1 = exp f32[3] (%0)
        %2 = log f32[3] (%1)
        %3 = neg f32[3] (%0)
        return %3
    """)
    assert written(dead(start)) == lines("""
        %0 = leaf f32[3]
        %1 = neg f32[3] (%0)
        return %1
    """)


def test_parameters_stay():
    start = graph("""
        %0 = leaf f32[3]
        %1 = scalar f32[]
        %2 = leaf f32[4]
        return %2
    """)
    assert written(dead(start)) == written(start)


def test_the_check_of_an_index_nobody_uses_goes():
    start = graph("""
        %0 = leaf i64[3]
        %1 = wrap_index i64[3] (%0) size=5 what="index"
        return %0
    """)
    result = dead(start)
    assert [n.op.name for n in result.nodes] == ["leaf"]
    assert result.codes == {}


def test_codes_of_checks_that_stay_are_kept():
    start = graph("""
        %0 = leaf i64[3]
        %1 = wrap_index i64[3] (%0) size=5 what="index"
        %2 = wrap_index i64[3] (%0) size=7 what="index"
        return %2
    """)
    result = dead(start)
    assert list(result.codes.values()) == [start.codes[start.nodes[2]]]
