"""merge: equal values are computed once."""

from tenor.compiler.simplify import dead, merge
from tests.passes.programs import graph, lines, written


def test_equal_operations_on_equal_operands_become_one():
    start = graph("""
        %0 = leaf f32[3]
        %1 = const f32[] value=2.0 dtype=f32
        %2 = mul f32[3] (%0, %1)
        %3 = const f32[] value=2.0 dtype=f32
        %4 = mul f32[3] (%0, %3)
        %5 = add f32[3] (%2, %4)
        return %5
    """)
    assert written(dead(merge(start))) == lines("""
        %0 = leaf f32[3]
        %1 = const f32[] value=2.0 dtype=f32
        %2 = mul f32[3] (%0, %1)
        %3 = add f32[3] (%2, %2)
        return %3
    """)


def kept(body):
    """Return whether merging leaves a graph as it is."""
    start = graph(body)
    return written(merge(start)) == written(start)


def test_leaves_and_scalars_are_never_merged():
    assert kept("""
        %0 = leaf f32[3]
        %1 = leaf f32[3]
        %2 = scalar f32[]
        %3 = scalar f32[]
        %4 = add f32[3] (%0, %2)
        %5 = add f32[3] (%1, %3)
        return %4, %5
    """)


def test_zeros_of_different_sign_are_different():
    assert kept("""
        %0 = const f32[] value=0.0 dtype=f32
        %1 = const f32[] value=-0.0 dtype=f32
        return %0, %1
    """)


def test_other_attributes_and_other_orders_are_different():
    assert kept("""
        %0 = leaf f32[3,4]
        %1 = sum f32[3,1] (%0) dims=[1]
        %2 = sum f32[1,4] (%0) dims=[0]
        %3 = cast f64[3,4] (%0) dtype=f64
        %4 = cast f16[3,4] (%0) dtype=f16
        return %1, %2, %3, %4
    """)


def test_nothing_is_merged_across_a_barrier():
    start = graph("""
        %0 = leaf f32[3]
        %1 = exp f32[3] (%0)
        %2 = barrier f32[3] (%0)
        %3 = barrier f32[3] (%0)
        %4 = exp f32[3] (%2)
        %5 = exp f32[3] (%3)
        return %1, %4, %5
    """)
    assert written(merge(start)) == written(start)


def test_outputs_that_were_equal_are_one_value():
    start = graph("""
        %0 = leaf f32[3]
        %1 = exp f32[3] (%0)
        %2 = exp f32[3] (%0)
        return %1, %2
    """)
    result = merge(start)
    assert result.outputs[0] is result.outputs[1]


def test_checks_of_indices_keep_a_code_each():
    start = graph("""
        %0 = leaf i64[3]
        %1 = wrap_index i64[3] (%0) size=5 what="index"
        %2 = wrap_index i64[3] (%0) size=5 what="index"
        %3 = wrap_index i64[3] (%0) size=6 what="index"
        return %1, %2, %3
    """)
    result = merge(start)
    checks = [n for n in result.nodes if n.op.name == "wrap_index"]
    assert len(checks) == 2
    assert set(result.codes) == set(checks)
    assert len(set(result.codes.values())) == 2
